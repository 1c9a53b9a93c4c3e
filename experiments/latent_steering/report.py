"""The report of a run: the verdict, what comes back from where, what vectors say, and how much they hold."""

from collections.abc import Iterable

from experiments.latent_steering.capacity import TEXT_KINDS, longest_held
from experiments.latent_steering.config import KINDS, PRESETS
from experiments.latent_steering.results import GAINS, SentenceResults, mean_gain
from experiments.latent_steering.sites import METRICS, Decoded
from experiments.latent_steering.space import MAIN, SHARES
from experiments.smoke import smoke_banner
from workbench.models.sites import Site
from workbench.report.blocks import Bullets, Card, Cards, Column, Table, headings
from workbench.report.charts import Line, LineChart, Point
from workbench.report.document import Block, Document, Section
from workbench.report.estimate import Estimate
from workbench.text import number, number_of

NOTES = (
    "Vectors are found by Adam on the loss of the whole sentence, all sentences at once; a row ends when each token is "
    "likelier than all others together. The first token counts: it is predicted from the opening, which is BOS and a "
    "line break that carries the vector. BOS itself is the attention sink, whose state in the middle blocks is a "
    "hundred times as long as others; “published” puts the vector there and nowhere behind it before the sentence.",
    "A sentence comes back exactly if greedy decoding with the key-value cache writes its tokens. Token accuracy "
    "counts tokens that are the likeliest behind the true earlier ones. BLEU is sacrebleu's; for intervals, of single "
    "sentences.",
    "Adding to a block's MLP output is adding to the block's output: on such a model the two sites are one.",
    "All vectors start from the same random numbers: another start gives another vector of the same sentence, so that "
    "angles between vectors of different starts say nothing. Those of reviews and graded pairs therefore never start "
    "again.",
    "Intervals are widened 95 % bootstraps over sentences, reviews, pairs or texts, which were written for the project "
    "and not drawn at random.",
)


def build_report(results: SentenceResults) -> Document:
    """Everything on the page."""
    study = results.study
    config = study.config
    return Document(
        title="Does a frozen model write any sentence when a vector is added to its states?",
        lead=f"{number_of(len(study.texts.sentences), 'sentence')}, one set of vectors each, optimised through "
        f"{study.model.name} (latent steering vectors, arXiv:2205.05124; cramming, arXiv:2502.13063), decoded again, "
        "mixed, moved, compared, and filled with longer texts.",
        verdict=_in_a_sentence(results),
        banner=smoke_banner(config, PRESETS),
        command=study.run.command,
        facts=(
            ("Model", study.model.name),
            ("Precision", str(study.model.dtype).removeprefix("torch.")),
            ("Sentences", f"{len(study.texts.sentences)}, {config.source}"),
            ("Steps", f"{config.steps} at most, {number_of(config.restarts, 'restart')}"),
        ),
        sections=tuple(
            Section(title=title, blocks=tuple(blocks))
            for title, blocks in (
                ("Verdict", [Bullets(tuple(_verdict(results)))]),
                ("What comes back", _sites(results)),
                ("Between two sentences", _mixtures(results)),
                ("Sentiment by an offset", _sentiment(results)),
                ("Similarity of sentences", _similarity(results)),
                ("How much a site holds", _capacity(results)),
            )
            if blocks
        ),
        notes=NOTES,
    )


def _label(each: Decoded) -> str:
    if each.control:
        return f"{each.control[0].upper()}{each.control[1:]} at {each.site}"
    return f"{each.name}, {each.site}"


def _in_a_sentence(results: SentenceResults) -> str:
    """The share of sentences that come back at each site."""
    exact = [f"{_label(each)} {results.metric(each, 'exact')}" for each in results.at_depth]
    return f"The share of the sentences that come back exactly: {'; '.join(exact)}."


def _verdict(results: SentenceResults) -> Iterable[str]:
    for each in results.at_depth:
        exact, accuracy = (results.metric(each, metric) for metric in ("exact", "accuracy"))
        yield f"{_label(each)}: {exact} of the sentences come back exactly, token accuracy {accuracy}."
    ends, between = results.ends if results.mixtures else (0.0, 0.0)
    if results.mixtures:
        yield (
            f"{number(ends, 2)} of the ends of mixtures are the sentences themselves; {number(between, 2)} of the "
            "texts between are neither."
        )
    for strength in results.strengths:
        reached = results.transfer(strength, lambda each: float(each.reached > 0.5), (0.0, 1.0))
        kept = results.transfer(strength, lambda each: each.kept, (0.0, 100.0))
        yield f"Sentiment offset times {strength:g}: wanted sentiment {reached}, BLEU with the source {kept}."
    ways = {way: results.similarity.spearman(way) for way in results.similarity.cosines}
    yield (
        "Rank correlation with people's similarity: " + ", ".join(f"{way} {found}" for way, found in ways.items()) + "."
    )
    for name in dict.fromkeys(each.name for each in results.filled):
        held = ", ".join(f"{longest_held(results.filled, name, kind)} tokens of {kind}" for kind in TEXT_KINDS)
        yield f"{name} holds {held} (of the lengths that were tried)."


def _sites(results: SentenceResults) -> list[Block]:
    columns = (
        Column("Vectors", digits=0),
        Column("Exact", "share of sentences that greedy decoding writes", 2, (0.0, 1.0), better="higher"),
        Column("Token accuracy", "share of tokens that are the likeliest", 3, (0.0, 1.0), better="higher"),
        Column("BLEU", "mean over sentences", 1, (0.0, 100.0), better="higher"),
        Column("BLEU, corpus", "of all sentences together", 1),
        Column("Length", "of a vector, in activation units", 1),
    )

    def cells(each: Decoded) -> tuple:
        found = (Estimate.of(results.metric(each, metric)) for metric in METRICS)
        return (each.n_vectors, *found, each.corpus_bleu, each.norm)

    blocks: list[Block] = [
        Table(
            name="sites",
            title="Sentences that come back, by site",
            caption="Intervals over sentences. No vector is the model itself, bit for bit.",
            corner="Site",
            columns=columns,
            rows=tuple((_label(each), cells(each)) for each in results.at_depth),
            references=tuple(_label(each) for each in results.at_depth if each.control),
            meanings={
                _label(each): KINDS[each.name.partition(":")[0]] for each in results.at_depth if not each.control
            },
        )
    ]
    blocks_tried = [each for each in results.decoded if each.name == MAIN and each.control is None]
    if len(blocks_tried) > 1:
        ordered = sorted(blocks_tried, key=lambda each: Site.parse(each.site).layer)
        lines = []
        for metric, label in (("exact", "Exact"), ("accuracy", "Token accuracy")):
            points = []
            for each in ordered:
                found = Estimate.of(results.metric(each, metric))
                assert found is not None
                points.append(Point(Site.parse(each.site).layer, found.value, *found.reach))
            lines.append(Line(label, tuple(points)))
        blocks.append(
            LineChart(
                name="depths",
                title="One vector at all positions, by block",
                caption="Intervals over sentences.",
                x="block",
                y="share",
                lines=tuple(lines),
            )
        )
    return blocks


def _mixtures(results: SentenceResults) -> list[Block]:
    if not results.mixtures:
        return []
    rows = tuple((f"{share:g}", (Estimate.of(results.nll(at)),)) for at, share in enumerate(SHARES))
    cards = tuple(
        Card(method=f"{share:g} of the way", concept=each.first, instruction=f"towards: {each.second}", text=text)
        for each in results.mixtures
        for share, text in zip(SHARES, each.texts, strict=True)
    )
    return [
        Table(
            name="mixtures",
            title="What is written on the way from one sentence's vector to another's",
            caption="Loss of the text by the model without vectors, in nats per token: low is fluent. "
            "Texts that say nothing have none.",
            corner="Share of the way",
            columns=(Column("Loss", digits=2),),
            rows=rows,
        ),
        Cards(name="mixed-texts", caption="Greedy, from the vectors between two sentences.", cards=cards),
    ]


def _sentiment(results: SentenceResults) -> list[Block]:
    rows = []
    for strength in results.strengths:
        found = (
            results.transfer(strength, lambda each: float(each.reached > 0.5), (0.0, 1.0)),
            results.transfer(strength, lambda each: each.reached, (0.0, 1.0)),
            results.transfer(strength, lambda each: each.kept, (0.0, 100.0)),
        )
        rows.append((f"{strength:g}", tuple(map(Estimate.of, found))))
    cards = tuple(
        Card(method=f"times {each.strength:g}", concept=f"to {each.wanted}", instruction=each.source, text=each.text)
        for each in results.sentiment.transfers
    )
    return [
        Table(
            name="sentiment",
            title="Reviews moved by the difference of mean vectors",
            caption="Times 0 is what the reviews' own vectors write. The classifier, on a sentence encoder that has "
            f"nothing to do with the model, is right on {number(results.sentiment.classifier_accuracy, 2)} of the "
            "reviews themselves.",
            corner="Times",
            columns=(
                Column("Wanted sentiment", "share of texts", 2, (0.0, 1.0)),
                Column("Its probability", "by the classifier", 2, (0.0, 1.0)),
                Column("BLEU with the source", "self-BLEU", 1, (0.0, 100.0)),
            ),
            rows=tuple(rows),
        ),
        Cards(name="reviews", caption="What is written.", cards=cards),
    ]


def _similarity(results: SentenceResults) -> list[Block]:
    found = results.similarity
    return [
        Table(
            name="similarity",
            title="Cosines against people's similarity",
            caption=f"Spearman's correlation over {len(found.people)} pairs. Vectors and pooled states are of the same "
            "block; the encoder was trained for this.",
            corner="Sentence represented by",
            columns=(Column("Correlation", digits=2, span=(-1.0, 1.0), chance=0.0, better="higher"),),
            rows=tuple((way, (Estimate.of(found.spearman(way)),)) for way in found.cosines),
            references=("encoder",),
        )
    ]


def _capacity(results: SentenceResults) -> list[Block]:
    if not results.filled:
        return []
    names = list(dict.fromkeys(each.name for each in results.filled))
    rows, lines = [], []
    for name in names:
        for kind in TEXT_KINDS:
            points = []
            for n_tokens in dict.fromkeys(each.n_tokens for each in results.filled_with(name, kind)):
                mine = results.filled_with(name, kind, n_tokens)
                means = {metric: mean_gain(mine, metric) for metric in GAINS}
                rows.append((f"{name}, {kind}, {n_tokens} tokens", tuple(map(Estimate.of, means.values()))))
                gain = Estimate.of(means["token_gain"])
                assert gain is not None
                points.append(Point(n_tokens, gain.value, *gain.reach))
            lines.append(Line(f"{name}, {kind}", tuple(points)))
    held = tuple((name, tuple(longest_held(results.filled, name, kind) for kind in TEXT_KINDS)) for name in names)
    return [
        Table(
            name="longest",
            title="The longest texts that are held",
            caption="Of the lengths that were tried, the largest whose tokens are right to 99 % on average, else 0.",
            corner="Site",
            columns=headings(kind[0].upper() + kind[1:] for kind in TEXT_KINDS),
            rows=held,
        ),
        LineChart(
            name="token-gain",
            title="Tokens that are right because of the vectors",
            caption="Token gain: the gain in accuracy times the tokens of the text.",
            x="tokens of the text",
            y="tokens",
            lines=tuple(lines),
        ),
        Table(
            name="capacity",
            title="What vectors tell of texts",
            caption="Information gain: the loss of the text without vectors less the loss with them, in nats.",
            corner="Text",
            columns=(
                Column("Token accuracy", digits=2, span=(0.0, 1.0)),
                Column("Token gain", digits=1),
                Column("Information gain", digits=1),
            ),
            rows=tuple(rows),
            folded=True,
        ),
    ]
