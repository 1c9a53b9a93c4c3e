import pytest

from workbench.models.sites import Site

NAMES = {
    "resid_pre": "blocks.0.hook_resid_pre",
    "resid_post": "blocks.0.hook_resid_post",
    "attn_out": "blocks.0.hook_attn_out",
    "mlp_out": "blocks.0.hook_mlp_out",
    "z": "blocks.0.attn.hook_z",
    "q": "blocks.0.attn.hook_q",
    "k": "blocks.0.attn.hook_k",
    "v": "blocks.0.attn.hook_v",
    "mlp.hook_post": "blocks.0.mlp.hook_post",
    "ln1.hook_normalized": "blocks.0.ln1.hook_normalized",
}


@pytest.mark.parametrize(("stream", "name"), NAMES.items())
@pytest.mark.parametrize("layer", [0, 7, 123])
def test_a_site_and_its_name_are_one(stream: str, name: str, layer: int) -> None:
    site, name = Site(layer, stream), name.replace("0", str(layer), 1)
    assert str(site) == name
    assert Site.parse(name) == site
    assert Site.parse(site) is site
    assert hash(Site.parse(name)) == hash(site)


def test_the_residual_stream_after_the_block_is_the_default() -> None:
    assert Site(12) == Site.parse("blocks.12.hook_resid_post")


def test_a_hook_name_and_its_short_name_make_equal_sites() -> None:
    assert Site(3, "attn.hook_z") == Site(3, "z")


def test_sites_sort_by_layer_as_numbers() -> None:
    assert sorted([Site(10), Site(9), Site(0)]) == [Site(0), Site(9), Site(10)]


@pytest.mark.parametrize(
    "name", ["", "blocks.3", "blocks.-1.hook_resid_post", "blocks.x.hook_resid_post", "hook_embed", "blocks.3.hook_z\n"]
)
def test_a_text_that_names_no_site_is_refused_with_an_example(name: str) -> None:
    with pytest.raises(ValueError, match=r"names no site; write it as TransformerLens does, blocks\.12\.hook"):
        Site.parse(name)


def test_a_negative_layer_is_refused() -> None:
    with pytest.raises(ValueError, match="layer -1 of a Site is negative"):
        Site(-1)


@pytest.mark.parametrize(
    ("depth", "n_layers", "layer"), [(0.0, 30, 0), (0.6, 30, 18), (1.0, 30, 29), (0.5, 1, 0), (0.99, 3, 2)]
)
def test_depth_picks_a_layer_that_exists(depth: float, n_layers: int, layer: int) -> None:
    assert Site.at_depth(depth, n_layers, "z") == Site(layer, "z")


@pytest.mark.parametrize("depth", [-0.1, 1.1])
def test_depth_outside_the_model_is_refused(depth: float) -> None:
    with pytest.raises(ValueError, match="is not between 0 and 1"):
        Site.at_depth(depth, 30)
