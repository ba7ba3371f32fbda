"""The official Python client works against the server as it is."""

import openai
import pytest

from llorch_core.engine.model import load
from llorch_core.engine.sampling import Sampling

TOKEN = "a-token-of-24-characters"


@pytest.fixture(scope="module")
def client(served):
    with openai.OpenAI(base_url=f"{served.address}/v1", api_key="none", max_retries=0) as client:
        yield client


def written(prompt, seed, max_tokens, **settings):
    return load().generate(prompt, Sampling(seed=seed, **settings), max_tokens)


def test_a_completion_is_what_the_model_writes(client):
    got = client.completions.create(model="shakespeare", prompt="To be", max_tokens=12, seed=5)
    assert got.object == "text_completion"
    assert got.choices[0].text == written("To be", 5, 12).text
    assert got.choices[0].finish_reason == "length"
    assert (got.usage.prompt_tokens, got.usage.completion_tokens, got.usage.total_tokens) == (2, 12, 14)


def test_settings_of_sampling_are_those_of_the_model(client):
    settings = {"temperature": 0.7, "top_p": 0.9}
    more = {"top_k": 40, "repetition_penalty": 1.3}
    got = client.completions.create(
        model="shakespeare", prompt="To be", max_tokens=12, seed=5, extra_body=more, **settings
    )
    assert got.choices[0].text == written("To be", 5, 12, **settings, **more).text


def test_a_stream_is_the_same_text_in_pieces(client):
    stream = client.completions.create(
        model="shakespeare",
        prompt="To be",
        max_tokens=12,
        seed=5,
        stream=True,
        stream_options={"include_usage": True},
    )
    parts = list(stream)
    texts = [part.choices[0].text for part in parts if part.choices]
    assert "".join(texts) == written("To be", 5, 12).text
    assert len(texts) > 6
    assert [part.choices[0].finish_reason for part in parts if part.choices][-2:] == [None, "length"]
    assert parts[-1].usage.total_tokens == 14
    assert parts[-1].choices == []


def test_several_prompts_and_continuations_have_their_places(client):
    got = client.completions.create(model="shakespeare", prompt=["To be", "or"], max_tokens=3, n=2, seed=5)
    wanted = [written(prompt, 5 + i, 3).text for i, prompt in enumerate(["To be", "To be", "or", "or"])]
    assert [choice.text for choice in got.choices] == wanted
    assert [choice.index for choice in got.choices] == [0, 1, 2, 3]


def test_ids_are_a_prompt_too(client):
    got = client.completions.create(model="shakespeare", prompt=[396, 304], max_tokens=3, seed=5)
    assert got.choices[0].text == written("To be", 5, 3).text


def test_probabilities_come_with_the_tokens_they_belong_to(client):
    got = client.completions.create(
        model="shakespeare", prompt="To be", max_tokens=3, temperature=0, logprobs=3, echo=True
    )
    told = got.choices[0].logprobs
    assert told.tokens[:2] == ["To", " be"]
    assert "".join(told.tokens) == got.choices[0].text
    assert told.token_logprobs[0] is None
    assert all(value <= 0 for value in told.token_logprobs[1:])
    for token, logprob, top in list(zip(told.tokens, told.token_logprobs, told.top_logprobs, strict=True))[
        2:
    ]:
        assert top[token] == logprob == max(top.values())  # greedy
        assert len(top) == 3
    assert [
        got.choices[0].text[at:][: len(t)] for at, t in zip(told.text_offset, told.tokens, strict=True)
    ] == (told.tokens)


def test_a_stop_string_is_no_part_of_the_text(client):
    whole = written("To be", 5, 12).text
    stop = whole[5:8]
    got = client.completions.create(model="shakespeare", prompt="To be", max_tokens=12, seed=5, stop=[stop])
    assert got.choices[0].text == whole[: whole.index(stop)]
    assert got.choices[0].finish_reason == "stop"


def test_a_bad_request_is_an_error_with_every_reason(client):
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(
            model="shakespeare", prompt="To be", temperature=9, max_tokens=-1, extra_body={"beams": 4}
        )
    assert refused.value.status_code == 400
    assert refused.value.code == "invalid_request"
    fields = {one["field"] for one in refused.value.response.json()["errors"]}
    assert fields == {"temperature", "max_tokens", "beams"}
    assert "To be" not in refused.value.response.text


def test_a_chat_is_refused_with_the_reason(client):
    with pytest.raises(openai.BadRequestError, match="no chat template"):
        client.chat.completions.create(model="shakespeare", messages=[{"role": "user", "content": "Hi"}])


def test_the_models_are_the_one_that_is_served(client):
    assert [model.id for model in client.models.list()] == ["shakespeare"]


def test_a_token_is_asked_for_where_there_is_one(serve):
    server = serve(environment={"LLORCH_API_TOKEN": TOKEN})
    settings = {"base_url": f"{server.address}/v1", "max_retries": 0}
    with openai.OpenAI(api_key=TOKEN, **settings) as client:
        assert client.completions.create(model="shakespeare", prompt="To be", max_tokens=1).choices
    with (
        openai.OpenAI(api_key=TOKEN[:-1] + "x", **settings) as client,
        pytest.raises(openai.AuthenticationError) as refused,
    ):
        client.completions.create(model="shakespeare", prompt="To be", max_tokens=1)
    assert refused.value.response.headers["www-authenticate"].startswith("Bearer")
    assert TOKEN[:-1] not in server.logged.getvalue()


def test_a_deadline_that_passes_ends_a_stream_with_an_error(client):
    with pytest.raises(openai.APIError, match="deadline"):
        for _ in client.completions.create(
            model="shakespeare",
            prompt=["To be"] * 16,
            max_tokens=250,
            stream=True,
            extra_body={"deadline_ms": 60},
        ):
            pass
