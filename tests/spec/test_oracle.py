"""The oracle equals what others computed, and each mistake makes it another one."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from llorch_core.spec.component import Component
from llorch_core.spec.difference import PRECISIONS, shares
from llorch_core.spec.errors import SpecError
from llorch_core.spec.oracle import _spread, random_oracle, read_oracle
from llorch_core.spec.suite import load_specs, suite_folder
from llorch_core.spec.trial import samples

CONFIG = {
    "n_layer": 2, "n_head": 2, "head_dim": 3, "n_embd": 6, "n_inner": 10, "n_vocab": 17, "n_ctx": 16,
    "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False, "tie_word_embeddings": True,
}  # fmt: skip
IDS = [3, 1, 4, 1, 5, 9, 2, 6]


def assert_equal_to(share, got, wanted):
    assert got.shape == wanted.shape
    finite = np.isfinite(wanted)
    np.testing.assert_array_equal(got[~finite], wanted[~finite])
    assert np.abs(got[finite] - wanted[finite]).max() <= share * np.abs(wanted[finite]).max()


def test_the_oracle_equals_the_reference_of_every_shared_model(shared_models):
    compared = 0
    for folder in sorted(shared_models.iterdir()):
        reference = load_file(folder / "reference.safetensors")
        (got,) = read_oracle(load_specs(), folder).run([reference["ids"]])
        for name, wanted in reference.items():
            assert_equal_to(1e-9, got[name], wanted)
            compared += wanted.size
    assert compared > 900_000


@pytest.mark.untraced
def test_the_oracle_equals_the_logits_of_further_prompts(shared_models):
    compared = 0
    for folder in sorted(shared_models.iterdir()):
        oracle, prompts = read_oracle(load_specs(), folder), load_file(folder / "logits.safetensors")
        for name in sorted(prompts):
            if name.endswith("/logits"):
                (got,) = oracle.run([prompts[name.replace("logits", "ids")]])
                assert_equal_to(1e-9, got["logits"], prompts[name])
                compared += 1
    assert compared >= 24


def test_the_oracle_equals_the_golden_tensors_of_the_embedded_model():
    from llorch_core.subject.dump import read_dump

    folder = suite_folder() / "llorch_core" / "models" / "shakespeare"
    golden = read_dump(suite_folder() / "specs" / "golden" / "shakespeare.safetensors")
    got = read_oracle(load_specs(), folder).run([step["ids"] for step in golden])
    assert len(golden) == 3
    for k, step in enumerate(golden):
        for name, wanted in step.items():
            assert_equal_to(1e-9, got[k][name], wanted)


def test_chunks_change_nothing():
    oracle = random_oracle(load_specs(), CONFIG)
    (at_once,) = oracle.run([IDS])
    in_chunks = oracle.run([IDS[:3], IDS[3:7], IDS[7:]])
    by_token = oracle.run([[i] for i in IDS])
    for way in (in_chunks, by_token):
        np.testing.assert_allclose(np.concatenate([s["logits"] for s in way]), at_once["logits"], rtol=1e-12)


@pytest.mark.parametrize("mistake", [None, "gpt2.cache_of_last_block"])
def test_component_by_component_it_wants_what_it_wants_call_by_call(mistake):
    record = random_oracle(load_specs(), CONFIG).run([IDS[:5], IDS[5:7], IDS[7:]])
    oracle = random_oracle(load_specs(), CONFIG, mistake=mistake)
    by_call = list(oracle.local(record, "float32"))
    in_turn = list(oracle.local(record, "float32", in_turn=True))
    assert [w[:2] for w in in_turn[:4]] == (  # a mistake that reads what a later block left has no turns
        [(0, "embed"), (1, "embed"), (2, "embed"), (0, "h.0.ln_1")]
        if mistake is None
        else [(0, "embed"), (0, "h.0.ln_1"), (0, "h.0.attn.q"), (0, "h.0.attn.k")]
    )
    for one, other in zip(by_call, sorted(in_turn, key=lambda w: w.step), strict=True):
        assert one[:3] == other[:3]
        np.testing.assert_array_equal(one.value, other.value)
        np.testing.assert_array_equal(one.bound, other.bound)


def test_its_own_run_conforms_locally_at_every_checkpoint():
    oracle = random_oracle(load_specs(), CONFIG)
    record = oracle.run([IDS[:5], IDS[5:7], IDS[7:]])
    wanted = list(oracle.local(record, "float32"))
    assert len(wanted) == 3 * (len(record[0]) - 1)  # all but ids
    for w in wanted:
        assert shares(record[w.step][w.checkpoint], w.value, w.bound).max() == 0


def test_an_error_is_blamed_where_it_is_and_nowhere_after():
    record = random_oracle(load_specs(), CONFIG, mistake="mlp.erf_gelu").run([IDS[:5], IDS[5:]])
    wrong = {
        w.checkpoint
        for w in random_oracle(load_specs(), CONFIG).local(record, "float32")
        if shares(record[w.step][w.checkpoint], w.value, w.bound).max() > 1
    }
    assert wrong == {"h.0.mlp.act", "h.1.mlp.act"}


def test_what_was_not_recorded_is_computed_from_what_was():
    oracle = random_oracle(load_specs(), CONFIG)
    record = oracle.run([IDS[:5], IDS[5:]])
    kept = ("ids", "embed", "h.1.attn.out", "ln_f")
    partial = [{name: step[name] for name in kept} for step in record]
    wanted = list(oracle.local(partial, "float32"))
    assert [w.checkpoint for w in wanted] == 2 * ["embed", "h.1.attn.out", "ln_f"]
    for w in wanted:
        np.testing.assert_allclose(w.value, record[w.step][w.checkpoint], rtol=1e-12)


def test_a_tensor_of_the_wrong_shape_is_not_used_to_judge_another():
    oracle = random_oracle(load_specs(), CONFIG)
    (step,) = oracle.run([IDS])
    broken = {**step, "h.0.attn.keys": step["h.0.attn.keys"][:, :3]}
    wanted = {w.checkpoint: w for w in oracle.local([broken], "float32")}
    assert wanted["h.0.attn.keys"].value.shape == (2, 8, 3)
    np.testing.assert_allclose(wanted["h.0.attn.scores"].value, step["h.0.attn.scores"])


def test_the_global_tolerance_contains_honest_rounding_and_not_a_mistake():
    oracle = random_oracle(load_specs(), CONFIG)
    record = oracle.run([IDS[:6], IDS[6:]])
    rounded = [{k: x if k == "ids" else x.astype(np.float32) for k, x in step.items()} for step in record]
    wrong = random_oracle(load_specs(), CONFIG, mistake="mlp.erf_gelu").run([IDS[:6], IDS[6:]])
    outside = 0
    for w in oracle.everywhere(rounded, "float32"):
        assert np.isfinite(w.bound).all()
        assert (w.bound > 0).all()
        assert shares(rounded[w.step][w.checkpoint], w.value, w.bound).max() < 0.25
        outside += shares(wrong[w.step][w.checkpoint], w.value, w.bound).max() > 1
    assert outside > 20


def test_a_lower_precision_has_a_larger_tolerance():
    oracle = random_oracle(load_specs(), CONFIG)
    record = oracle.run([IDS])
    half, single = ({w.checkpoint: w.bound for w in oracle.local(record, p)} for p in ("bfloat16", "float32"))
    terms = 3 * 2.0**-23 * np.sqrt(CONFIG["n_embd"])  # engines in 16 bits add up in float32
    wider = (12 * 2.0**-7 + terms) / (12 * 2.0**-23 + terms)
    np.testing.assert_allclose(half["logits"], single["logits"] * wider)


def model_mistakes():
    """Return the mistakes that show in any forward pass: those of the wiring and of components in it."""
    spec = load_specs()
    parts = {step["by"] for step in spec.file.data["steps"]} | {spec.id}
    hidden = {m.id for m in spec.mistakes.values() if m.policy}
    hidden.add("attention_weights.largest_not_subtracted")  # shows where scores are large
    return [m for m in spec.mistake_ids() if m.split(".")[0] in parts and m not in hidden]


@pytest.mark.untraced
@pytest.mark.parametrize("mistake", model_mistakes())
def test_a_mistake_changes_the_forward_pass_beyond_the_tolerance(mistake):
    chunks = [IDS[:4], IDS[4:6], IDS[6:]]
    right = random_oracle(load_specs(), CONFIG)
    record = random_oracle(load_specs(), CONFIG, mistake=mistake).run(chunks)
    worst = max(
        shares(record[w.step][w.checkpoint], w.value, w.bound).max() for w in right.local(record, "float32")
    )
    assert worst > 4


def other_mistakes():
    """Return the mistakes of components that a forward pass does not run: sampling, selection."""
    components = load_specs().components.values()
    seen = set(model_mistakes())
    return [m.id for c in components for m in c.mistakes.values() if m.id not in seen]


@pytest.mark.parametrize("mistake", other_mistakes())
def test_a_mistake_changes_the_output_of_its_component_beyond_the_tolerance(mistake):
    part, _, name = mistake.partition(".")
    component, config, worst = load_specs().components[part], load_specs().defaults, 0.0
    cases = component.cases["equation"] if component.cases else [None]
    for case in cases:
        chosen = {**config, component.cases["config"]: case} if case else config
        for draw in range(4):
            inputs = samples(component, draw)
            bounds = [f"bound {output}" for output in component.outputs]
            right = component.run(
                [*component.outputs, *bounds], inputs, chosen, precision=PRECISIONS["float32"]
            )
            wrong = component.run(component.outputs, inputs, chosen, mistake=name)
            for output in component.outputs:
                worst = max(worst, shares(wrong[output], right[output], right[f"bound {output}"]).max())
    assert worst > 4


def test_every_mistake_of_an_equation_or_of_the_wiring_is_tried_here():
    spec = load_specs()
    policies = {m.id for m in spec.mistakes.values() if m.policy}
    equations = {m.id for c in spec.components.values() for m in c.mistakes.values()}
    wiring = {m.id for m in spec.mistakes.values()}
    assert {*model_mistakes(), *other_mistakes()} == (equations | wiring) - policies
    assert len(other_mistakes()) > 20


def test_a_mistake_that_nobody_listed_is_refused():
    for name in ("mlp.nothing", "nothing.erf_gelu", "erf_gelu"):
        with pytest.raises(SpecError, match=f"{name} is not a mistake"):
            random_oracle(load_specs(), CONFIG, mistake=name)


def test_checkpoints_come_in_the_order_of_the_data_flow():
    oracle = random_oracle(load_specs(), CONFIG)
    record = oracle.run([IDS])
    wanted = [name for node in load_specs().nodes(2) for name in node.makes]
    assert [w.checkpoint for w in oracle.local(record, "float32")] == wanted
    assert [w.checkpoint for w in oracle.everywhere(record, "float32")] == wanted


def test_hidden_scores_do_not_narrow_the_tolerance_behind_a_gap():
    # Row 0 sees one key of eight: the spread of the four moved copies there is that of this key alone.
    value = np.array([[2.0, -np.inf, -np.inf], [1.0, 2.0, -np.inf]])
    moved = [value + away for away in (0.1, -0.1, 0.3, -0.3)]
    np.testing.assert_allclose(_spread(value, moved), [[0.05**0.5], [0.05**0.5]])


def test_the_tolerance_follows_a_gap_through_the_exponential():
    # Only the ids, the scores of block 0 and its attention weights: nothing between them is missing, and
    # the tolerance is that of the softmax alone. Without the scores it is what their rounding makes of it.
    oracle = random_oracle(load_specs(), CONFIG)
    (full,) = oracle.run([IDS])
    name = "h.0.attn.probs"

    def bound(*recorded):
        (wanted,) = oracle.local([{n: full[n] for n in ("ids", *recorded, name)}], "bfloat16", {(0, name)})
        np.testing.assert_allclose(wanted.value, full[name], rtol=1e-12)
        return wanted.bound

    near, far = bound("h.0.attn.scores"), bound()
    assert (far >= near).all()
    assert far.max() > 2 * near.max()
    rng = np.random.default_rng(0)
    for _ in range(20):  # honest engines in bfloat16, which round every checkpoint on the way
        step = {"ids": full["ids"]}
        for wanted in oracle.local([full], "bfloat16"):
            if wanted.checkpoint == name:
                break
            again = oracle.local(
                [{**step, wanted.checkpoint: wanted.value}], "bfloat16", {(0, wanted.checkpoint)}
            )
            (right,) = again
            step[wanted.checkpoint] = right.value + rng.uniform(-0.25, 0.25, right.value.shape) * wanted.bound
        (probs,) = oracle.local([{**step, name: full[name]}], "bfloat16", {(0, name)})
        assert (np.abs(probs.value - full[name]) <= far).all()


def test_a_recorded_float32_is_computed_with_in_float64():
    oracle = random_oracle(load_specs(), CONFIG)
    record = [{k: x if k == "ids" else x.astype(np.float32) for k, x in oracle.run([IDS])[0].items()}]
    for w in oracle.local(record, "float32"):
        assert w.value.dtype == w.bound.dtype == np.float64
        if w.checkpoint == "h.0.mlp.act":
            x = record[0]["h.0.mlp.fc"].astype(np.float64)
            wanted = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
            np.testing.assert_allclose(w.value, wanted, rtol=1e-14)


def test_buffers_that_are_no_weights_may_have_any_type(tiny_folder, tiny_tensors):
    mask = np.tril(np.ones((1, 1, 16, 16), np.bool_))
    plain, masked = tiny_folder(), tiny_folder({**tiny_tensors(), "h.0.attn.bias": mask})
    (with_mask,), (without) = (
        read_oracle(load_specs(), masked).run([IDS]),
        read_oracle(load_specs(), plain).run([IDS]),
    )
    np.testing.assert_array_equal(with_mask["logits"], without[0]["logits"])


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", None),
        ("config.json", b"{"),
        ("model.safetensors", b"\xff" * 40),
        ("config.json", b"\xff"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_by_name(tiny_folder, file, content):
    folder = tiny_folder()
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    with pytest.raises(SpecError, match=f"{file}: cannot be read"):
        read_oracle(load_specs(), folder)


def test_an_id_or_a_position_that_the_tables_lack_is_refused():
    oracle = random_oracle(load_specs(), CONFIG)
    for chunks in ([[17]], [[-1]], [[0] * 17], [[0] * 16, [0]]):
        with pytest.raises(SpecError, match="whole number from 0 to"):
            oracle.run(chunks)


def test_a_folder_without_a_tensor_is_refused_by_name(tiny_folder, tiny_tensors):
    tensors = tiny_tensors()
    del tensors["h.0.ln_1.bias"]
    with pytest.raises(SpecError, match=r"the spec wants h\.0\.ln_1\.bias"):
        read_oracle(load_specs(), tiny_folder(tensors))


def test_a_component_says_what_it_is():
    for component in load_specs().components.values():
        assert isinstance(component, Component)
        assert component.purpose.endswith(".")
        for rule in component.rules.values():
            assert rule.text.endswith(".")
