"""What is not arithmetic between text and text: the tokenizer, the choice of tokens, the loop."""

import json
import tempfile
from pathlib import Path

import numpy as np
from behave import given, then, when

from llorch_core.check.compare import compare, compare_text
from llorch_core.engine.sampling import Sampling
from llorch_core.spec.language import Equation
from llorch_core.trace.session import NotHereError

SEEDS = range(20)  # tried until a continuation has what a scenario needs
END = "<|endoftext|>"
LOOSE = 1000.0  # at this temperature every model draws nearly evenly: its draws differ from one another


def number(text):
    return Equation(text, lists=True).run({})


def refusal(context, call):
    """Call the engine where it refuses; keep the type of its error, which says whose fault it is."""
    context.refusal = context.session.refusal(call)


@then("the caller gets a refusal")
def refused(context):
    context.session.note([compare_text("refusal", context.refusal, "UsageError")])


# The tokenizer


def vocabulary(merges):
    """Return the names of the tokens in the order of GPT-2: bytes that print, the others, merges, the end."""
    printing = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [chr(0x100 + i) for i in range(0x100 - len(printing))]
    made = [left + right for left, right in merges]
    return [*map(chr, printing), *others, *made, END]


def characters():
    """Return the character that stands for each byte in a vocabulary file."""
    names = vocabulary([])
    shifted = sorted(set(range(0x100)) - {ord(name) for name in names[:188]})
    return [chr(b) if b not in shifted else names[188 + shifted.index(b)] for b in range(0x100)]


def spelt(text):
    """Return how a vocabulary file spells a text: one character for each byte."""
    return "".join(characters()[b] for b in text.encode())


def halves(tokens):
    """Return how many tokens are no whole characters."""
    return sum("\ufffd" in token.decode(errors="replace") for token in tokens)


def measure_text(context, text):
    """Say what a text is like before the vocabulary, for the conditions of the rules."""
    raw, tokens = text.encode(), context.tokens
    words = [token for token in tokens if len(token) > 1]
    places = [(i, i + len(w)) for w in words for i in range(len(raw)) if raw.startswith(w, i)]
    context.session.facts(
        blanks=sum(c.isspace() for c in text),
        words_in_text=len(places),
        overlaps=sum(a < begin < b < end for a, b in places for begin, end in places),
        specials_in_text=text.count(END),
        bytes_off_their_number=sum(bytes([b]) in tokens and tokens.index(bytes([b])) != b for b in raw),
    )


def read_tokenizer(context, merges):
    names = vocabulary(merges)
    of = characters()
    context.tokens = [bytes(map(of.index, name)) for name in names if name != END]
    context.session.facts(special_tokens=names.count(END))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "vocab.json").write_text(
            json.dumps({name: i for i, name in enumerate(names)}), "utf-8"
        )
        lines = ["#version: 0.2", *(f"{left} {right}" for left, right in merges)]
        (Path(folder) / "merges.txt").write_text("\n".join(lines), "utf-8")
        with context.session.trial():
            context.tokenizer = context.session.behaviour("tokenizer").read(Path(folder), len(names))


@given("a tokenizer of bytes, <|endoftext|> and the words {words}")
def tokenizer_of_words(context, words):
    spellings = [spelt(word) for word in json.loads(words)]
    merges = [(spelling[:i], spelling[i]) for spelling in spellings for i in range(1, len(spelling))]
    read_tokenizer(context, list(dict.fromkeys(merges)))


@given("a tokenizer of bytes, <|endoftext|> and the merges {merges}")
def tokenizer_of_merges(context, merges):
    read_tokenizer(context, [tuple(merge.split()) for merge in json.loads(merges)])


@given("the tokenizer of the model")
def own_tokenizer(context):
    with context.session.trial():
        context.tokenizer = context.session.behaviour("tokenizer").own
    if context.tokenizer is None:
        raise NotHereError("a tokenizer in the folder of the model")
    context.tokens = []


@when("the text {text} is encoded")
def encoded(context, text):
    measure_text(context, json.loads(text))
    with context.session.trial():
        context.ids = context.tokenizer.encode(json.loads(text))


@when("the text {text} is encoded with special tokens")
def encoded_with_special(context, text):
    measure_text(context, json.loads(text))
    with context.session.trial():
        context.ids = context.tokenizer.encode(json.loads(text), allow_special=True)


@when("the text {text} is encoded and decoded again")
def encoded_and_decoded(context, text):
    measure_text(context, json.loads(text))
    with context.session.trial():
        context.answer = context.tokenizer.decode(context.tokenizer.encode(json.loads(text)))


@when("the ids {ids} are decoded")
def decoded(context, ids):
    def decode():
        context.answer = context.tokenizer.decode(json.loads(ids))

    known = [context.tokens[i] for i in json.loads(ids) if 0 <= i < len(context.tokens)]
    unknown = sum(not 0 <= i <= len(context.tokens) for i in json.loads(ids))  # <|endoftext|> is last
    context.session.facts(half_characters=halves(known), known_ids=len(known), unknown_ids=unknown)
    context.answer = ""
    refusal(context, decode)


@then("the tokens are {tokens}")
def tokens_are(context, tokens):
    with context.session.trial():
        got = [context.tokenizer.token_bytes(i).decode(errors="replace") for i in context.ids]
    context.session.note([compare_text("tokens", json.dumps(got), json.dumps(json.loads(tokens)))])


@then("the token ids are {ids}")
def ids_are(context, ids):
    context.session.note([compare("token ids", context.ids, json.loads(ids))])


@then("the text is {text}")
def text_is(context, text):
    context.session.note([compare_text("text", context.answer, json.loads(text))])


# The choice of tokens


def measure_draws(context, logits, count):
    """Say what a row of logits is like, for the conditions of the rules."""
    shares = np.exp(logits - logits.max())
    context.session.facts(
        draws=count,
        largest_share=shares.max() / shares.sum(),
        largest_logit=logits.max(),
        ties=np.sum(logits == logits.max()),
    )


@when("{count:d} tokens are drawn")
def drawn(context, count):
    settings = {row["setting"]: number(row["value"]) for row in context.table}
    logits = np.asarray(settings.pop("logits"), np.float32)
    previous = [int(i) for i in np.ravel(settings.pop("previous", []))]
    for name in settings:
        settings[name] = int(settings[name]) if name in ("seed", "top_k") else float(settings[name])
    context.seed = settings["seed"]
    measure_draws(context, logits, count)
    context.session.facts(settings=len(settings.keys() - {"seed"}))
    with context.session.trial():
        sampler = context.session.behaviour("sampling").sampler(**settings)
        context.drawn = [sampler.choose(logits, previous) for _ in range(count)]


@then("the draws have the probabilities {probabilities}")
def draws_follow(context, probabilities):
    """Draw by hand: the first id whose cumulative probability exceeds the uniform number."""
    reached = np.cumsum(number(probabilities))
    uniform = np.random.Generator(np.random.PCG64(context.seed)).random(len(context.drawn))
    wanted = [int(np.argmax(reached > u)) for u in uniform]
    context.session.note([compare("tokens drawn", context.drawn, wanted)])


@when("{count:d} samplers are made without a seed")
def samplers(context, count):
    context.session.facts(samplers=count)
    with context.session.trial():
        part = context.session.behaviour("sampling")
        context.seeds = {part.sampler(temperature=1.0).seed for _ in range(count)}


@then("each of {count:d} bits is set in some of their seeds, and clear in others")
def all_bits(context, count):
    ever = [bit for bit in range(max(context.seeds).bit_length()) if any(s >> bit & 1 for s in context.seeds)]
    always = [bit for bit in ever if all(s >> bit & 1 for s in context.seeds)]
    context.session.note([compare("bits that are set in some seed", ever, range(count))])
    context.session.note([compare("bits that are set in each seed", len(always), 0)])


@then("they have {count:d} seeds")
def seeds(context, count):
    context.session.note([compare("different seeds", len(context.seeds), count)])


@when(
    "{samplers:d} samplers without a seed draw {count:d} tokens of {number:d} alike, and are asked for again"
)
def drawn_twice(context, samplers, count, number):
    logits = np.zeros(number, np.float32)
    measure_draws(context, logits, count)
    context.session.facts(samplers=samplers)
    part = context.session.behaviour("sampling")
    context.drawn, context.again, context.refusals = [], [], []
    for _ in range(samplers):
        with context.session.trial():
            fresh = part.sampler(temperature=1.0)
            context.drawn += [fresh.choose(logits, []) for _ in range(count)]

        def ask_again(seed=fresh.seed):
            sampler = part.sampler(temperature=1.0, seed=seed)
            context.again += [sampler.choose(logits, []) for _ in range(count)]

        refusal(context, ask_again)
        context.refusals.append(context.refusal)


@then("no seed that they told is refused, and each of them gives the same tokens")
def same_again(context):
    accepted = " ".join("nothing was refused" for _ in context.refusals)
    context.session.note(
        [
            compare_text("refusals", " ".join(context.refusals), accepted),
            compare("tokens drawn again", context.again, context.drawn),
        ]
    )


@when("a sampler is asked for with {setting} = {value}")
def sampler_asked_for(context, setting, value):
    settings = {setting: int(value) if setting in ("seed", "top_k") else float(value)}
    context.session.facts(settings=len(settings))
    part = context.session.behaviour("sampling")
    refusal(context, lambda: part.sampler(**settings))


@when("a token is chosen of {count:d} logits, one of them NaN, at temperature {temperature:g}")
def chosen_of_nan(context, count, temperature):
    logits = np.arange(count, dtype=np.float32)
    logits[1] = np.nan
    context.session.facts(nans=np.isnan(logits).sum(), numbers=np.isfinite(logits).sum())
    part = context.session.behaviour("sampling")
    refusal(context, lambda: part.sampler(temperature=temperature, seed=1).choose(logits, []))


# The loop


def loop(context):
    return context.session.behaviour("generation")


def measure_request(context, max_tokens):
    """Say what is asked for, for the conditions of the rules."""
    config, positions = context.session.subject.config, len(context.prompt) + max_tokens - 1
    if not context.as_long_as_the_model:
        context.session.needs_positions(positions)
    outside = [max(-i, i - config["n_vocab"] + 1) for i in context.prompt if not 0 <= i < config["n_vocab"]]
    context.session.facts(
        prompt_ids=len(context.prompt),
        max_tokens=max_tokens,
        over=positions - config["n_ctx"],  # the last token is not read
        unknown_ids=len(outside),
        beyond=max(outside, default=0),
    )


def measure_continuations(context, continuations):
    """Say what was added, for the conditions of the rules: it depends on what the model makes of a prompt."""
    context.session.facts_of_model(
        added=min(map(len, continuations)),
        different_ids=min(len(set(ids)) for ids in continuations),
    )


def measure_shown(context, tokens, stop):
    """Say what the tokens that are shown are like, for the conditions of the rules."""
    starts = [stop[:end].encode() for end in range(1, len(stop))]
    context.session.facts(
        tokens=len(tokens),
        half_characters=halves(tokens),
        stop_letters=len(stop),
        begun=sum(token.endswith(start) for token in tokens for start in starts),
    )


@given("a prompt of {count:d} ids")
def prompt(context, count):
    context.prompt = context.session.ids(count) if count else []
    context.as_long_as_the_model = False


@given("a prompt of {count:d} ids, the second of them {token}")
def prompt_with(context, count, token):
    prompt(context, count)
    context.prompt[1] = context.session.subject.config["n_vocab"] if token == "n_vocab" else int(token)


@given("a prompt of {room:d} positions less than the model has")
def long_prompt(context, room):
    context.prompt = context.session.ids(context.session.subject.config["n_ctx"] - room)
    context.as_long_as_the_model = True


@given("prompts of {a:d}, {b:d} and {c:d} ids")
def prompts(context, a, b, c):
    context.prompts = [context.session.ids(count, seed) for seed, count in enumerate((a, b, c))]


@when("it is continued greedily by {count:d} tokens, with a repetition penalty of {penalty:g}")
def continued_greedily(context, count, penalty):
    measure_request(context, count)
    context.penalty = penalty
    sampling = Sampling(temperature=0.0, repetition_penalty=penalty)
    with context.session.trial():
        context.done = loop(context).complete(
            context.prompt, sampling=sampling, max_tokens=count, stop_at_end_of_text=False
        )


@then("every token has the largest of the logits that follow prompt and earlier choices")
def own_choices(context):
    ids = context.done.ids
    measure_continuations(context, [ids])
    with context.session.trial():
        read = context.session.subject.logits([context.prompt, *([i] for i in ids[:-1])])
    wanted = []
    for k, rows in enumerate(read):
        row = np.array(rows[-1])
        for i in {*context.prompt, *ids[:k]}:
            row[i] = row[i] / context.penalty if row[i] > 0 else row[i] * context.penalty
        wanted.append(int(np.argmax(row)))
    context.session.note([compare("ids", ids, wanted)])


@when("they are continued by {count:d} tokens with seed {seed:d}, in a batch and alone")
def continued_as_batch(context, count, seed):
    context.session.needs_positions(max(map(len, context.prompts)) + count - 1)
    settings = {
        "sampling": Sampling(temperature=LOOSE, seed=seed),
        "max_tokens": count,
        "stop_at_end_of_text": False,
    }
    with context.session.trial():
        context.batch = loop(context).batch(context.prompts, **settings)
        context.alone = [loop(context).complete(each, **settings) for each in context.prompts]
    lengths = {len(each) for each in context.prompts}
    context.session.facts(sequences=len(context.prompts), lengths=len(lengths))
    measure_continuations(context, [each.ids for each in context.alone])


@when("they are continued by {a:d}, {b:d} and {c:d} tokens with seed {seed:d}, {at_once} at a time and alone")
def continued_by_turns(context, a, b, c, seed, at_once):
    context.session.needs_positions(max(map(len, context.prompts)) + max(a, b, c) - 1)
    sampling = Sampling(temperature=LOOSE, seed=seed)
    part, pairs = loop(context), list(zip(context.prompts, (a, b, c), strict=True))
    at_once = {"one": 1, "two": 2}[at_once]
    with context.session.trial():
        context.batch = part.by_turns(pairs, at_once, sampling)
        context.alone = [
            part.complete(prompt, sampling=sampling, max_tokens=count, stop_at_end_of_text=False)
            for prompt, count in pairs
        ]
    lengths = {len(each) for each in context.prompts}
    context.session.facts(sequences=len(context.prompts), lengths=len(lengths))
    measure_continuations(context, [each.ids for each in context.alone])


class Drafts:
    """Drafts `length` ids of a text that is known: the first `right` as they are, the others wrong."""

    def __init__(self, text, length, right, n_vocab):
        self.text, self.length, self.right, self.n_vocab = text, length, right, n_vocab
        self.drafted_right = self.drafted_wrong = 0

    def draft(self, ids, most):
        known = self.text[len(ids) :][: min(self.length, most)]
        self.drafted_right += len(known[: self.right])
        self.drafted_wrong += len(known[self.right :])
        return [*known[: self.right], *((i + 1) % self.n_vocab for i in known[self.right :])]

    def learn(self, n_drafted, n_made, seconds):
        pass


@when(
    "it is continued greedily by {count:d} tokens, "
    "with drafts of {length:d} ids of which the first {right:d} are right"
)
def continued_with_drafts(context, count, length, right):
    measure_request(context, count)
    with context.session.trial():
        context.before = (
            loop(context)
            .complete(
                context.prompt,
                sampling=Sampling(temperature=0.0),
                max_tokens=count,
                stop_at_end_of_text=False,
            )
            .ids
        )
    n_vocab = context.session.subject.config["n_vocab"]
    drafts = Drafts([*context.prompt, *context.before], length, right, n_vocab)
    with context.session.trial():
        context.done = loop(context).drafted(context.prompt, count, drafts)
    context.session.facts(drafted_right=drafts.drafted_right, drafted_wrong=drafts.drafted_wrong)
    measure_continuations(context, [context.before])


@then("its ids are those that are added without drafts")
def same_as_without_drafts(context):
    context.session.note([compare("ids", context.done.ids, context.before)])


@then("each gets the ids in the batch that it gets alone")
def as_alone(context):
    pairs = zip(context.batch, context.alone, strict=True)
    context.session.note([compare("ids", batch.ids, alone.ids) for batch, alone in pairs])


@when("it is continued by {count:d} tokens, whatever they are")
def continued(context, count):
    measure_request(context, count)
    with context.session.trial():
        context.done = loop(context).complete(
            context.prompt,
            sampling=Sampling(temperature=LOOSE, seed=1),
            max_tokens=count,
            stop_at_end_of_text=False,
        )
    context.session.facts(reasons=int(len(context.done.ids) == count))


@then("{count:d} ids are added")
def added(context, count):
    context.session.note([compare("number of ids", len(context.done.ids), count)])


@when("it is continued, and the third id that it got is end-of-text")
def continued_to_the_end(context):
    for seed in SEEDS:
        settings = {"sampling": Sampling(temperature=LOOSE, seed=seed), "max_tokens": 8}
        measure_request(context, settings["max_tokens"])
        with context.session.trial():
            part = loop(context)
            context.before = part.complete(context.prompt, **settings, stop_at_end_of_text=False).ids
        end = context.before[2]
        before_end, limit = context.before.index(end), settings["max_tokens"]
        context.session.facts(before_end=before_end, max_tokens=limit, reasons=1 + (before_end >= limit))
        if end not in context.before[:2]:
            with context.session.trial():
                context.done = part.ending_at(end).complete(context.prompt, **settings)
            return
    raise NotHereError("a continuation whose third id is none of the first two")


@then("the first {count:d} ids are added")
def first_added(context, count):
    context.session.note([compare("ids", context.done.ids, context.before[:count])])


@then('the finish reason is "{reason}"')
def finish_reason(context, reason):
    context.session.note([compare_text("finish reason", context.done.finish_reason, reason)])


@when("it is continued by {count:d} tokens, up to the fourth and fifth character of the text")
def continued_to_a_stop(context, count):
    if loop(context).model.tokenizer is None:
        raise NotHereError("a tokenizer in the folder of the model")
    measure_request(context, count)
    for seed in SEEDS:
        settings = {
            "sampling": Sampling(temperature=LOOSE, seed=seed),
            "max_tokens": count,
            "stop_at_end_of_text": False,
        }
        with context.session.trial():
            text = loop(context).complete(context.prompt, **settings).text
        stop = text[3:5]
        context.session.facts(tokens=count, stop_letters=len(stop))
        if len(stop) == 2 and text.index(stop):
            context.wanted = text[: text.index(stop)]
            with context.session.trial():
                context.done = loop(context).complete(context.prompt, **settings, stop=[stop])
            return
    raise NotHereError("a continuation of five characters")


@then("its text ends before the first place where they are")
def ends_before(context):
    context.session.note([compare_text("text", context.done.text, context.wanted)])


@when('the tokens {tokens} are shown, with the stop string "{stop}"')
def shown_with_stop(context, tokens, stop):
    tokens = [token.encode() for token in json.loads(tokens)]
    measure_shown(context, tokens, stop)
    with context.session.trial():
        context.pieces = loop(context).shown(tokens, [stop])


@when("tokens of the bytes {tokens} are shown")
def bytes_shown(context, tokens):
    tokens = [bytes.fromhex(token) for token in json.loads(tokens)]
    measure_shown(context, tokens, "")
    with context.session.trial():
        context.pieces = loop(context).shown(tokens, [])


@then("the pieces are {pieces}")
def pieces_are(context, pieces):
    got, wanted = json.dumps(context.pieces), json.dumps(json.loads(pieces))
    context.session.note([compare_text("pieces", got, wanted)])


@then("they show the text {text}")
def pieces_show(context, text):
    context.session.note([compare_text("text", "".join(context.pieces), json.loads(text))])


@when("it is streamed by {count:d} tokens")
def streamed(context, count):
    if loop(context).model.tokenizer is None:
        raise NotHereError("a tokenizer in the folder of the model")
    measure_request(context, count)
    settings = {
        "sampling": Sampling(temperature=LOOSE, seed=1),
        "max_tokens": count,
        "stop_at_end_of_text": False,
    }
    with context.session.trial():
        context.pieces = list(loop(context).stream(context.prompt, **settings))
        context.decoded = loop(context).model.decode([piece.id for piece in context.pieces])
    context.session.facts(tokens=len(context.pieces))


@then("the pieces joined are the text of the ids")
def pieces_joined(context):
    text = "".join(piece.text for piece in context.pieces)
    context.session.note([compare_text("text", text, context.decoded)])


@when("it is continued by {count:d} tokens, or refused")
def continued_or_refused(context, count):
    measure_request(context, count)
    part = loop(context)
    refusal(
        context,
        lambda: part.complete(context.prompt, sampling=Sampling(temperature=LOOSE, seed=1), max_tokens=count),
    )


@when("a stream of {count:d} tokens is asked for, and no piece of it")
def stream_asked_for(context, count):
    measure_request(context, count)
    part = loop(context)
    refusal(
        context,
        lambda: part.stream(context.prompt, sampling=Sampling(temperature=LOOSE, seed=1), max_tokens=count),
    )


@when("it is continued by {count:d} tokens without a seed, and again with the seed that came with the text")
def continued_again(context, count):
    measure_request(context, count)
    settings = {"max_tokens": count, "stop_at_end_of_text": False}
    part = loop(context)
    with context.session.trial():
        context.done = part.complete(context.prompt, sampling=Sampling(temperature=LOOSE), **settings)
    context.again = []

    def ask_again():
        sampling = Sampling(temperature=LOOSE, seed=context.done.seed)
        context.again = part.complete(context.prompt, sampling=sampling, **settings).ids

    refusal(context, ask_again)
    measure_continuations(context, [context.done.ids])


@then("it gets the same ids again")
def same_ids_again(context):
    context.session.note([compare_text("refusal", context.refusal, "nothing was refused")])
    context.session.note([compare("ids", context.again, context.done.ids)])
