"""A diagnosis finds the first wrong number and the mistake that made it, and blames no honest engine."""

from dataclasses import replace

import numpy as np
import pytest

from llorch_core.diagnosis.diagnose import diagnose
from llorch_core.spec.oracle import random_oracle
from llorch_core.spec.suite import load_specs
from llorch_core.spec.window import ROUND

CONFIG = {
    "n_layer": 3, "n_head": 2, "head_dim": 12, "n_embd": 24, "n_inner": 40, "n_vocab": 61, "n_ctx": 32,
    "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False, "tie_word_embeddings": True,
}  # fmt: skip
CHUNKS = [[3, 1, 4, 1, 5, 9, 2, 6], [5, 3, 58], [9]]
ORACLE = random_oracle(load_specs(), CONFIG)
NAMES = [name for place in ORACLE.places([[0]]) for name in place.node.makes]


def engine(mistake=None, precision="float32", chunks=CHUNKS, change=None):
    """An engine that rounds each checkpoint; `change` may do what it likes to one, before others read it."""
    oracle = replace(ORACLE, mistake=mistake)
    steps = [{"ids": np.asarray(ids)} for ids in chunks]
    for place in oracle.places(chunks):
        step, given = steps[place.step], {}
        inputs = {name: oracle._input(at, steps, place) for name, at in place.node.sources.items()}
        for name, output in place.node.makes.items():
            value = oracle._compute(place, [output], inputs, given)[output]
            value = value if change is None else change(place.step, name, value)
            given[output] = step[name] = ROUND[precision](value).astype(np.float32)
    return steps


def look(record, precision="float32", **options):
    return diagnose(ORACLE, [record], precision, engine="theirs", model="tiny", **options)


def first(diagnosis):
    return diagnosis.first.comparison.step, diagnosis.first.comparison.what


def named(diagnosis):
    return [c.mistake for c in diagnosis.first.causes]


def only(record, *names):
    return [{name: step[name] for name in ("ids", *names)} for step in record]


def agree(record, wanted):
    got, finite = record[wanted.step][wanted.checkpoint], np.isfinite(wanted.value)
    away = np.abs(got[finite] - wanted.value[finite])
    return np.array_equal(np.isfinite(got), finite) and (away <= wanted.bound[finite]).all()


@pytest.mark.untraced
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_an_honest_engine_conforms_whatever_its_precision(precision):
    found = look(engine(precision=precision), precision)
    assert (found.verdict, found.exit_code, found.divergences) == ("conforms", 0, ())
    assert len(found.comparisons) == len(NAMES) * 3
    assert sum(c.elements for c in found.comparisons) == sum(
        step[name].size for step in engine() for name in NAMES
    )
    assert found.not_observed == ()


@pytest.mark.untraced
@pytest.mark.parametrize(
    "mistake",
    [
        "embedding.position_restarts",
        "layer_norm.sample_variance",
        "layer_norm.epsilon_of_llama",
        "qkv.interleaved_by_head",
        "cache.past_forgotten",
        "attention_scores.mask_left_out",
        "attention_scores.mask_of_ten_thousand",
        "attention_weights.over_heads",
        "attention_context.heads_reversed",
        "attention_output.weight_transposed",
        "attention_output.dropout_active",
        "residual.branch_scaled",
        "mlp.erf_gelu",
        "activation.digit_lost",
        "logits.rows_reversed",
        "gpt2.residual_after_norm",
        "gpt2.parallel_attention_and_mlp",
        "gpt2.final_norm_left_out",
        "gpt2.last_block_skipped",
        "weight_file.tensor_not_loaded",
        "weight_file.gain_renormalised",
    ],
)
def test_a_mistake_is_found_where_it_is_made_and_named(mistake):
    record = engine(mistake)
    breaks = [(w.step, w.checkpoint) for w in ORACLE.local(record, "float32") if not agree(record, w)]
    found = look(record)
    assert found.verdict == "diverges"
    assert first(found) == breaks[0]
    assert named(found) == [mistake]
    assert found.first.causes[0].amount == pytest.approx(1, abs=0.01)
    assert found.first.causes[0].explains > 0.99
    assert [(d.comparison.step, d.comparison.what) for d in found.divergences] == breaks
    before, _ = found.before_first()
    assert before == [(c.step, c.what) for c in found.comparisons].index(breaks[0])


def test_mistakes_that_give_the_same_numbers_are_named_together():
    cause = look(engine("kv_cache.position_not_advanced")).first.causes[0]
    assert cause.mistake == "embedding.position_restarts"
    assert cause.same_numbers == ("kv_cache.position_not_advanced",)


def test_two_mistakes_in_one_tensor_are_named_together():
    pair = "attention_scores.unscaled + attention_scores.mask_left_out"
    found = look(engine(pair))
    assert set(named(found)) == set(pair.split(" + "))
    assert first(found) == (0, "h.0.attn.scores")
    assert found.first.causes[0].confirmed


def test_two_mistakes_in_different_places_are_both_named():
    found = look(engine("mlp.relu + layer_norm.mean_kept"))
    causes = [c.mistake for d in found.divergences for c in d.causes]
    assert named(found) == ["layer_norm.mean_kept"]
    assert set(causes) == {"layer_norm.mean_kept", "mlp.relu"}


def test_a_mistake_that_no_element_shows_is_found_by_all_of_them_together():
    # The two forms of GELU differ by less than bfloat16 resolves anywhere.
    long = [[int(i) for i in np.random.default_rng(5).integers(0, 61, 28)], [7]]
    found = look(engine("mlp.erf_gelu", "bfloat16", long), "bfloat16")
    assert all(c.conforms for c in found.comparisons)
    assert found.verdict == "diverges"
    assert found.first.hidden
    assert found.first.component == "mlp"
    assert named(found) == ["mlp.erf_gelu"]


@pytest.mark.untraced
def test_what_cannot_be_told_is_said_with_how_much_it_would_take():
    found = look(engine("layer_norm.epsilon_of_llama", "bfloat16"), "bfloat16")
    said = [*found.notes, found.reason]
    assert any("layer_norm.epsilon_of_llama" in text and "elements more would tell" in text for text in said)


# Unlike anything listed


def changed(where, change):
    return engine(change=lambda k, name, x: change(x) if name == where else x)


@pytest.mark.untraced
@pytest.mark.parametrize(
    "where, change, look_of",
    [
        ("h.1.ln_2", lambda x: 1.01 * x, "scaled"),
        ("h.1.mid", lambda x: x + 0.01, "offset"),
        ("h.1.attn.context", lambda x: np.roll(x, 1, 0), "shifted"),
        ("h.2.attn.context", lambda x: x[:, np.random.default_rng(0).permutation(24)], "permuted"),
        ("h.0.attn.q", np.zeros_like, "zero"),
        ("h.0.attn.out", lambda x: np.where(x > 0, x, np.nan), "not_finite"),
        ("h.2.mlp.out", ROUND["bfloat16"], "lower_precision"),
        ("h.1.out", lambda x: x * np.linspace(1, 2, len(x))[:, None], "scaled_by_row"),
    ],
)
def test_an_unlisted_mistake_is_located_and_looks_like_something(where, change, look_of):
    found = look(changed(where, change))
    assert first(found) == (0, where)
    assert named(found) == [f"signature.{look_of}"]


def half(x):
    return np.asarray(x, np.float16).astype(np.float64)


def gelu_of_a_table(x):
    x = half(x)
    return half(0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))))


def test_what_is_read_in_a_lower_precision_is_recognised():
    # llama.cpp looks GELU up in a table of float16: its input and its result are rounded.
    record, fc = engine(), {}

    def change(k, name, x):
        fc[k, name] = x
        return gelu_of_a_table(fc[k, "h.0.mlp.fc"].astype(np.float32)) if name == "h.0.mlp.act" else x

    found = look(engine(change=change))
    assert first(found) == (0, "h.0.mlp.act")
    assert named(found) == ["signature.lower_precision"]
    assert "reads were rounded to float16, and its result" in found.first.causes[0].text
    weights = {**ORACLE.weights, "h.1.mlp.c_fc.weight": half(ORACLE.weights["h.1.mlp.c_fc.weight"])}
    for w in replace(ORACLE, weights=weights).local(record, "float32"):
        if w.checkpoint == "h.1.mlp.fc":
            record[w.step][w.checkpoint] = w.value.astype(np.float32)
    found = look(record)
    assert first(found) == (0, "h.1.mlp.fc")
    assert "its weights were rounded to float16" in found.first.causes[0].text


def test_an_error_like_nothing_is_located_and_not_named():
    def noise(x):
        return x + 0.1 * np.random.default_rng(1).normal(size=x.shape)

    found = look(changed("h.1.mlp.fc", noise))
    assert first(found) == (0, "h.1.mlp.fc")
    assert found.first.causes == ()
    assert {d.comparison.what for d in found.divergences} == {"h.1.mlp.fc"}


def test_a_tensor_of_another_place_is_recognised():
    record = engine()
    record[0]["h.1.ln_2"] = record[0]["h.0.ln_2"]
    (found,) = look(record).divergences[:1]
    assert found.causes[0].mistake == "signature.another_tensor"
    assert "h.0.ln_2" in found.causes[0].text


def test_one_wrong_element_is_found_and_its_place_is_said():
    record = engine()
    record[1]["h.2.attn.v"][1, 2, 7] *= 1.001
    found = look(record)
    assert first(found) == (1, "h.2.attn.v")
    assert found.first.comparison.index == (1, 2, 7)
    assert found.first.comparison.outside == 1
    assert "head 1" in found.first.note


# What is recorded differently by honest engines


@pytest.mark.parametrize("lowest", [np.finfo(np.float32).min, -3.3895e38])
def test_hidden_scores_as_the_smallest_number_are_accepted_and_said(lowest):
    record = engine()
    for step in record:
        for name in step:
            if name.endswith("scores"):
                step[name] = np.where(np.isneginf(step[name]), np.float32(lowest), step[name])
    found = look(record)
    assert found.verdict == "conforms"
    assert "hidden scores were recorded as the smallest number" in found.notes[0]


@pytest.mark.parametrize("left", [(), ("probs",), ("probs", "context")])
def test_scores_before_they_were_masked_are_accepted_where_the_weights_are_right(left):
    record = engine()
    raw = replace(ORACLE, mistake="attention_scores.mask_left_out")
    for w in raw.local(record, "float32"):
        if w.checkpoint.endswith("scores"):
            record[w.step][w.checkpoint] = w.value.astype(np.float32)
    for step in record:
        for name in [n for n in step if n.endswith(tuple(f".attn.{x}" for x in left))] if left else ():
            del step[name]
    found = look(record)
    assert found.verdict == "conforms"
    assert "before they were masked" in found.notes[0]


def test_a_number_past_the_range_of_float16_may_be_infinite():
    weights = {**ORACLE.weights, "wte.weight": ORACLE.weights["wte.weight"] * 1e6}
    big = replace(ORACLE, weights=weights)
    steps = [{"ids": step["ids"], "embed": step["embed"]} for step in big.run(CHUNKS)]
    with np.errstate(over="ignore"):
        halves = [{**s, "embed": s["embed"].astype(np.float16)} for s in steps]
    assert np.isinf(halves[0]["embed"]).any()
    assert diagnose(big, [halves], "float16", engine="x", model="m").verdict == "conforms"
    halves[0]["embed"] *= -1
    assert diagnose(big, [halves], "float16", engine="x", model="m").verdict == "diverges"


# Partial dumps


@pytest.mark.untraced
def test_a_gap_widens_the_tolerance_and_still_names_the_mistake():
    found = look(only(engine("mlp.erf_gelu"), "logits"))
    assert first(found) == (0, "logits")
    assert named(found) == ["mlp.erf_gelu"]
    assert "h.0.ln_1" in found.not_observed
    assert "logits" not in found.not_observed
    for precision in ("float32", "bfloat16"):
        assert look(only(engine(precision=precision), "logits"), precision).verdict == "conforms"


def test_a_checkpoint_that_only_some_calls_show_is_named_with_the_call():
    record = engine()
    del record[1]["h.0.mid"]
    found = look(record)
    assert found.verdict == "conforms"
    assert found.not_observed == ("step.1/h.0.mid",)


# Harmless


def test_logits_that_are_right_up_to_a_constant_in_each_row_are_harmless():
    found = look(engine("logits.centred"))
    assert (found.verdict, found.first.harmless, named(found)) == ("diverges", True, ["logits.centred"])
    assert found.exit_code == 1


def test_a_key_bias_that_is_left_out_is_harmless_and_a_query_bias_is_not():
    bias = ORACLE.weights["h.1.attn.c_attn.bias"]

    def drop(part):
        cut = slice(24 * part, 24 * part + 24)
        missing = bias[cut].reshape(2, 1, 12)
        return lambda x: x - missing

    keys, queries = look(changed("h.1.attn.k", drop(1))), look(changed("h.1.attn.q", drop(0)))
    assert (first(keys), keys.first.harmless) == ((0, "h.1.attn.k"), True)
    assert (first(queries), queries.first.harmless) == ((0, "h.1.attn.q"), False)


@pytest.mark.parametrize("mistake, is_harmless", [("mask_of_ten_thousand", True), ("mask_left_out", False)])
def test_a_mask_that_hides_well_enough_is_harmless(mistake, is_harmless):
    found = look(engine(f"attention_scores.{mistake}"))
    assert named(found) == [f"attention_scores.{mistake}"]
    assert found.first.harmless == is_harmless


# Undecided


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda r: [{"ids": step["ids"]} for step in r], "nothing was recorded"),
        (lambda r: [{n: x for n, x in step.items() if n != "ids"} for step in r], "which ids it read"),
        (lambda r: [{**r[0], "ids": r[0]["ids"] + 60}, *r[1:]], "61 tokens"),
        (lambda r: [{**step, "h.3.ln_1": step["h.0.ln_1"]} for step in r], "3 blocks"),
        (lambda r: [{"ids": s["ids"], "embed": s["embed"][:, :5]} for s in r], "wanted [8, 24]"),
        (lambda r: r * 3, "36 positions"),
    ],
)
def test_what_cannot_be_compared_is_undecided_and_says_why(change, says):
    found = look(change(engine()))
    assert (found.verdict, found.exit_code, found.divergences) == ("undecided", 2, ())
    assert says in found.reason


def test_other_ids_than_those_asked_for_are_undecided():
    asked = [CHUNKS[0], [5, 3, 57], [9]]
    found = look(engine(), asked=asked)
    assert found.verdict == "undecided"
    assert "step 1 read the ids [5, 3, 58], and [5, 3, 57] were asked for" in found.reason
    assert look(engine(), asked=CHUNKS).verdict == "conforms"
    assert "3 were recorded" in look(engine(), asked=CHUNKS[:2]).reason


def test_weights_that_are_not_finite_decide_nothing():
    weights = {**ORACLE.weights, "ln_f.bias": np.full(24, np.nan)}
    found = diagnose(replace(ORACLE, weights=weights), [engine()], "float32", engine="x", model="m")
    assert found.verdict == "undecided"
    assert "ln_f.bias" in found.reason


def test_a_shape_that_is_wrong_in_one_place_is_a_divergence_there():
    record = engine()
    record[0]["h.1.attn.context"] = record[0]["h.1.attn.context"][:, :12]
    found = look(record)
    assert first(found) == (0, "h.1.attn.context")
    assert "[8, 12]" in found.first.note


@pytest.mark.untraced
def test_every_sequence_of_a_batch_is_read():
    wrong = engine("mlp.relu")
    found = diagnose(ORACLE, [engine(), wrong], "float32", engine="x", model="m")
    assert found.first.sequence == 1
    assert named(found) == ["mlp.relu"]
    assert len(found.comparisons) == 2 * 3 * len(NAMES)


def test_the_tanh_form_in_a_model_of_the_erf_form_is_found_in_16_bits():
    oracle = replace(ORACLE, config={**CONFIG, "activation_function": "gelu"})
    ids = [int(i) for i in np.random.default_rng(5).integers(0, 61, 30)]
    record = oracle.run([ids])
    right = {w.checkpoint: w.value for w in oracle.local(record, "bfloat16")}
    wrong = replace(oracle, mistake="activation.tanh_for_erf")

    def rounded(engine_oracle):
        step = {"ids": np.asarray(ids)}
        for name in right:
            step[name] = np.empty(0)
            (made,) = engine_oracle.local([step | {name: right[name]}], "bfloat16", {(0, name)})
            step[name] = ROUND["bfloat16"](made.value).astype(np.float32)
        return [step]

    found = diagnose(oracle, [rounded(wrong)], "bfloat16", engine="x", model="m")
    assert (found.verdict, named(found)) == ("diverges", ["activation.tanh_for_erf"])
    assert diagnose(oracle, [rounded(oracle)], "bfloat16", engine="x", model="m").verdict == "conforms"


def test_an_honest_engine_in_16_bits_may_read_every_position():
    full = [[int(i) for i in np.random.default_rng(6).integers(0, 61, CONFIG["n_ctx"])]]
    assert look(engine(precision="bfloat16", chunks=full), "bfloat16").verdict == "conforms"


def test_a_mistake_whose_tolerance_is_wide_explains_nothing():
    # Over a sequence of one token the variance is 0, and so is all that a gain could scale.
    found = look(
        engine(
            chunks=[[3]], change=lambda k, n, x: x + 0.3 * np.cos(np.arange(24) * x) if n == "h.1.ln_1" else x
        )
    )
    assert first(found) == (0, "h.1.ln_1")
    assert not any(name.startswith("layer_norm") for name in named(found))
