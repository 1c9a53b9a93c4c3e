"""Training finds planted features, and a training that is killed, shared or done together comes out the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from probes.sae import DictionaryConfig, Running, stream_of, train_dictionaries, train_dictionary
from probes.sae.config import COMPETING
from probes.sae.source import SiteStatistics, usual_states
from probes.sae.training import UNNAMED
from workbench.artifacts.autoencoder import SparseAutoencoder
from workbench.data.items import DataError
from workbench.data.stream import ActivationStream, StreamBatch
from workbench.models.activations import Activations
from workbench.models.sites import Site

SITE, D, N = Site(1), 24, 32
ARCHITECTURES = {
    "standard": dict(sparsity=0.3, sparsity_warmup=200),
    "topk": dict(k=3),
    "batchtopk": dict(k=3),
    "matryoshka_batchtopk": dict(k=3, prefixes=(32,)),
    "jumprelu": dict(sparsity=0.15, sparsity_warmup=200, bandwidth=0.3, threshold=0.1),
    "gated": dict(sparsity=0.3, sparsity_warmup=200),
}


def planted(n: int = 6000, seed: int = 0) -> tuple[Tensor, Tensor]:
    """States that are sums of 3 of 32 unit directions, with lengths of 3 to 6, around a mean; and the directions."""
    generator = torch.Generator().manual_seed(7)
    features = torch.nn.functional.normalize(torch.randn(N, D, generator=generator), dim=1)
    mean = 2 * torch.randn(D, generator=generator)
    draw = torch.Generator().manual_seed(seed)
    index = torch.rand(n, N, generator=draw).argsort(1)[:, :3]
    codes = torch.zeros(n, N).scatter(1, index, 3 + 3 * torch.rand(n, 3, generator=draw))
    return codes @ features + mean, features


def config(name: str, **changes: object) -> DictionaryConfig:
    settings = dict(n_latents=64, n_steps=600, learning_rate=5e-3, decay_steps=200, site=SITE, dead_after=100)
    return DictionaryConfig(architecture=name, **settings | ARCHITECTURES[name] | changes)  # pyright: ignore


def recovered(dictionary: SparseAutoencoder, features: Tensor) -> float:
    """The share of planted directions that some latent writes along."""
    cosines = features @ torch.nn.functional.normalize(dictionary.W_dec, dim=1).T
    return float((cosines.amax(1) > 0.9).float().mean())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_planted_features_are_found(name: str) -> None:
    x, features = planted()
    logged: list[dict[str, float]] = []
    found = train_dictionary(
        config(name), x, running=Running(batch_size=256), on_log=lambda number, step, values: logged.append(values)
    )
    held_out, _ = planted(500, seed=1)
    error = found.reconstruct(held_out) - held_out
    explained = 1 - float(error.square().sum() / (held_out - held_out.mean(0)).square().sum())
    active = float((found.encode(held_out) > 0).sum(1).float().mean())
    assert recovered(found, features) > 0.85
    assert explained > 0.9
    assert 2 < active < (12 if name in ("standard", "gated") else 4)
    if name in COMPETING:  # the others' penalty grows
        assert logged[-1]["loss"] < 0.5 * logged[0]["loss"]


SHORT = dict(n_steps=12, n_latents=16, site=SITE, dead_after=3)


def short(name: str = "topk", **changes: object) -> DictionaryConfig:
    return DictionaryConfig(architecture=name, **SHORT | ARCHITECTURES[name] | changes)  # pyright: ignore


class Killed(Exception):
    """Stands for the kill of a process, at a step."""


def test_a_training_that_is_killed_continues_with_equal_bits(tmp_path: Path) -> None:
    x, configs = planted(640)[0], [short(n_latents=200), short("batchtopk", seed=1)]
    running = Running(folder=tmp_path, checkpoint_every=3, log_every=1, batch_size=64)
    whole_log: list[tuple[int, int, dict[str, float]]] = []
    whole = train_dictionaries(
        configs, x, running=Running(log_every=1, batch_size=64), on_log=lambda *one: whole_log.append(one)
    )

    def kill(number: int, step: int, values: dict[str, float]) -> None:
        if step == 7:  # one step behind a checkpoint
            raise Killed

    with pytest.raises(Killed):
        train_dictionaries(configs, x, running=running, on_log=kill)
    log: list[tuple[int, int, dict[str, float]]] = []
    resumed = train_dictionaries(configs, x, running=running, on_log=lambda *one: log.append(one))
    for one, other in zip(whole, resumed, strict=True):
        assert one.content_digest == other.content_digest
    assert log == whole_log
    assert whole_log[-2][2]["revival"] > 0  # the loss of dead latents has been at work
    (path,) = tmp_path.iterdir()
    train_dictionaries([short(learning_rate=1e-2)], x, running=running)
    assert len(list(tmp_path.iterdir())) == 2  # other settings never find this checkpoint
    path.write_bytes(path.read_bytes()[:-7])  # and a damaged one counts as none
    again = train_dictionaries(configs, x, running=running)
    assert again[0].content_digest == whole[0].content_digest


@pytest.mark.parametrize("data", [UNNAMED, "book"])
def test_other_states_of_the_same_shape_are_trained_on_anew(tmp_path: Path, data: str) -> None:
    running = Running(folder=tmp_path, batch_size=64)
    one, other = (planted(320, seed=seed)[0] for seed in (0, 1))
    first, second = (train_dictionary(short(), x, running=running, data=data) for x in (one, other))
    alone = train_dictionary(short(), other, running=Running(batch_size=64), data=data)
    assert second.content_digest == alone.content_digest
    assert second.content_digest != first.content_digest


@pytest.mark.parametrize("n_steps", [16, 200])
def test_however_short_a_training_its_threshold_lets_k_latents_through(n_steps: int) -> None:
    x, _ = planted(2000)
    found = train_dictionary(config("batchtopk", n_steps=n_steps), x, running=Running(batch_size=256))
    held_out, _ = planted(500, seed=1)
    active = float((found.encode(held_out) > 0).sum(1).float().mean())
    assert active == pytest.approx(3, abs=1)


def test_by_default_latents_die_in_short_trainings_too() -> None:
    logged: list[float] = []
    settings = DictionaryConfig(n_latents=256, k=4, n_steps=80, learning_rate=3e-3, site=SITE)
    assert settings.patience == 10
    train_dictionary(settings, planted(1000)[0], running=Running(batch_size=64, log_every=10),
                     on_log=lambda number, step, values: logged.append(values["dead_share"]))  # fmt: skip
    assert logged[0] == 0
    assert max(logged) > 0.05


def test_states_that_cannot_be_scaled_are_refused() -> None:
    for x, message in ((torch.full((200, D), torch.nan), "not finite"), (torch.zeros(200, D), "all 0")):
        with pytest.raises(DataError, match=message):
            train_dictionary(short(), x)


def test_dictionaries_from_one_pass_are_those_trained_alone() -> None:
    x = planted(640)[0]
    configs = [short(), short(k=2, n_latents=8, n_steps=5), short(seed=3)]
    stream = stream_of(x, SITE, batch_size=64)
    together = train_dictionaries(configs, stream)
    for config_, one in zip(configs, together, strict=True):
        assert train_dictionary(config_, stream).content_digest == one.content_digest
    assert len({one.content_digest for one in together}) == 3
    assert together[1].W_enc.shape == (D, 8)


def two_sites(n: int = 320) -> ActivationStream:
    """States at two sites of different scale, of which one in 20 is a hundred times as long."""
    x = planted(n)[0]
    x[::20] *= 100
    y = 5 * x[:, :7] - 1

    def read(rows: list[int]) -> Activations:
        return Activations({SITE: x[rows], Site(2): y[rows]}, torch.arange(len(rows)), len(rows))

    return ActivationStream(torch.ones(n, dtype=torch.long), read, 64, 4, 0)


def test_a_transcoder_predicts_another_site() -> None:
    config_ = short(target=Site(2), n_steps=400, n_latents=64, k=8, learning_rate=3e-3)
    found = train_dictionary(config_, two_sites())
    assert (found.site, found.target) == (SITE, Site(2))
    x = planted(320)[0]
    y = 5 * x[:, :7] - 1
    error = (found.reconstruct(x) - y)[torch.arange(320) % 20 > 0]
    assert error.square().mean() < 0.2 * y.var(0).mean()


def test_states_that_stand_out_make_room_for_others_of_the_batch() -> None:
    x = torch.ones(6, 3) * torch.tensor([1.0, 1.1, 90.0, 1.2, 80.0, 1.3])[:, None]
    statistics = SiteStatistics.of(x, outlier=5.0)
    torch.testing.assert_close(statistics.mean, torch.full((3,), 1.15))
    assert statistics.scale == pytest.approx(1 / 1.15)
    batch = StreamBatch({SITE: x}, torch.arange(6))
    found = usual_states(batch, {SITE: statistics})[SITE]
    torch.testing.assert_close(found[:, 0], torch.tensor([1.0, 1.1, 1.0, 1.2, 1.1, 1.3]))
    with pytest.raises(ValueError, match="all states of a batch stand out"):
        usual_states(batch, {SITE: SiteStatistics(statistics.mean, 1.0, 0.5)})


def test_folding_undoes_all_that_training_did_around_the_weights() -> None:
    """The same weights with and without the scale: what was trained on x * s, folded, reads x."""
    x = planted(640)[0]
    for name in ("topk", "jumprelu", "gated"):  # a threshold that is learnt, none, and a gate's own biases
        config_ = short(name, n_steps=3)
        scaled = train_dictionary(config_, 1000 * x, running=Running(batch_size=64))
        plain = train_dictionary(config_, x, running=Running(batch_size=64))
        torch.testing.assert_close(scaled.encode(1000 * x), 1000 * plain.encode(x), rtol=1e-3, atol=1e-1)
        torch.testing.assert_close(scaled.reconstruct(1000 * x), 1000 * plain.reconstruct(x), rtol=1e-3, atol=1e-1)
        torch.testing.assert_close(scaled.W_dec.norm(dim=1), torch.ones(16))


SHARED = """
import json, sys
from probes.sae import Running, train_dictionary
from tests.probes.sae.test_training import planted, short
found = {}
for name, devices in (("topk", 1), ("topk", 2), ("batchtopk", 1), ("batchtopk", 4)):
    one = train_dictionary(short(name), planted(640)[0], running=Running(batch_size=64, n_devices=devices))
    found[f"{name}{devices}"] = [one.W_enc.tolist(), one.W_dec.tolist(), one.threshold.tolist()]
print(json.dumps(found))
"""


def test_devices_that_share_each_batch_are_as_one() -> None:
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=4"
    found = json.loads(run(SHARED, {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}))
    for shared, alone in (("topk2", "topk1"), ("batchtopk4", "batchtopk1")):
        for one, several in zip(found[alone], found[shared], strict=True):
            torch.testing.assert_close(torch.tensor(one), torch.tensor(several), rtol=1e-4, atol=1e-4)


THREADS = """
import contextlib
import torch
torch.set_num_threads(1)
from probes.sae.devices import start_xla
start_xla()
import os, jax
jax.numpy.ones((600, 600)).dot(jax.numpy.ones((600, 600))).block_until_ready()
names = []
for task in os.listdir("/proc/self/task"):
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread may end while it is looked at
        names.append(open(f"/proc/self/task/{task}/comm").read())
print(sum("XLAEigen" in name for name in names), "NPROC" in os.environ)
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads have names on Linux only")
def test_xla_has_as_many_threads_as_torch() -> None:
    assert run(THREADS, {}).split() == ["1", "False"]


def run(code: str, environment: dict[str, str]) -> str:
    root = Path(__file__).parents[3]
    whole = {name: value for name, value in os.environ.items() if name != "NPROC"} | environment
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=root, env=whole, check=True, capture_output=True, text=True).stdout


def test_what_cannot_be_trained_is_refused() -> None:
    x = planted(640)[0]
    with pytest.raises(ValueError, match=r"do not have blocks\.5\.hook_resid_post; they have blocks\.1"):
        train_dictionary(short(site=Site(5)), stream_of(x, SITE, batch_size=64))
    with pytest.raises(ValueError, match="say at which `site`"):
        train_dictionary(short(site=None), x)
    with pytest.raises(ValueError, match="are of one site"):
        train_dictionary(short(target=Site(2)), x)
    with pytest.raises(ValueError, match="3 devices are wanted"):
        train_dictionary(short(), x, running=Running(n_devices=3))
    with pytest.raises(ValueError, match=r"diverged: its loss is (nan|inf)"):
        train_dictionary(short(learning_rate=1e30), x, running=Running(log_every=1))
