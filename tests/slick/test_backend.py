"""slick.backend: any lm-eval model behind one small interface."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from slick.backend import Backend, load_backend, parse_model_args
from slick.errors import InputError, RunError
from slick.facts import Fact
from slick.knowledge_file import read_knowledge
from slick.probe import Probe, run_probe
from slick.prompts import PLAIN
from slick.runs import read_samples
from slick.sampled import Sampled, greedy_kwargs

GREEDY = greedy_kwargs(6)
SAMPLED = Sampled(max_gen_toks=6, temperature=1.0).sampled_kwargs()
PROMPTS = ["Q: Which country?\nA:", "Q: x\nA:", "Q: What is the capital of P36devton 1?\nA:"]


@pytest.fixture(scope="module")
def tiny(tiny_model: Path) -> Backend:
    return load_backend("hf", str(tiny_model), batch_size=2)


def test_answers_come_in_the_order_of_their_requests(tiny: Backend) -> None:
    """Together or one by one, the same prompt has the same answer."""
    together = tiny.generate([(prompt, GREEDY) for prompt in PROMPTS])
    assert together == [tiny.generate([(prompt, GREEDY)])[0] for prompt in PROMPTS]
    assert len(set(together)) == 3
    assert tiny.generate([(prompt, GREEDY) for prompt in PROMPTS[::-1]]) == together[::-1]


def test_no_requests_have_no_answers(tiny: Backend) -> None:
    """An empty chunk is no error."""
    assert tiny.generate([]) == []
    assert tiny.sample([], SAMPLED, 4, 0) == []


def test_samples_come_by_prompt_and_follow_their_seed(tiny: Backend) -> None:
    """prompts × n; the same seed draws the same, whatever was drawn before."""
    first = tiny.sample(PROMPTS, SAMPLED, 5, seed=1)
    assert [len(answers) for answers in first] == [5, 5, 5]
    assert tiny.sample(PROMPTS, SAMPLED, 5, seed=2) != first
    assert tiny.sample(PROMPTS, SAMPLED, 5, seed=1) == first


def test_the_backend_is_recorded(tiny: Backend, tiny_model: Path) -> None:
    """Name, arguments, batch size, and the model's fingerprint."""
    assert tiny.provenance() == {"name": "hf", "args": {}, "batch_size": 2}
    assert tiny.model["name"] == str(tiny_model)
    assert tiny.model["weights"]


class FakeLM:
    """Gives `answers` to whatever it is asked, or raises them."""

    def __init__(self, answers: list[str | None] | Exception) -> None:
        self.answers = answers

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str | None]:
        if isinstance(self.answers, Exception):
            raise self.answers
        return self.answers


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (["a"], "backend fake: 2 requests, 1 answers"),
        (["a", None], "backend fake: 1 of 2 requests had no answer"),
        (ConnectionError("refused"), "backend fake: refused; repeat the command to go on where it stopped"),
        (TimeoutError("too slow"), "backend fake: too slow; repeat"),
        (MemoryError("full"), r"backend fake: out of memory; lower --batch-size \(full\)"),
    ],
)
def test_a_backend_that_fails_is_a_run_error(answers: Any, message: str) -> None:
    """The run can be gone on with; a wrong answer in a fact's place cannot be mended."""
    with pytest.raises(RunError, match=message):
        Backend(FakeLM(answers), "fake", {}, 1, {}).generate([("p", GREEDY), ("q", GREEDY)])


def test_a_bug_in_a_backend_is_not_dressed_up() -> None:
    """What nobody foresaw keeps its own type."""
    with pytest.raises(ZeroDivisionError, match="bug"):
        Backend(FakeLM(ZeroDivisionError("bug")), "fake", {}, 1, {}).generate([("p", GREEDY)])


def test_a_backend_of_another_kind_is_sampled_request_by_request() -> None:
    """lm-eval's dummy model, too, gives n answers a prompt, all of them its own."""
    dummy = load_backend("dummy", "any-name", batch_size=3)
    assert dummy.generate([(p, GREEDY) for p in PROMPTS]) == ["lol"] * 3
    assert dummy.sample(PROMPTS, SAMPLED, 2, 0) == [["lol", "lol"]] * 3
    assert not dummy.per_request_seeds


@pytest.mark.parametrize("name", ["nonsense", "HF", ""])
def test_an_unknown_backend_is_named(tiny_model: Path, name: str) -> None:
    """lm-eval's model types are the backends."""
    with pytest.raises(InputError, match=f"--backend {name}: lm-eval knows no such model type; try hf"):
        load_backend(name, str(tiny_model))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"nonsense": 1}, "cannot load it with .*unexpected keyword argument 'nonsense'"),
        ({"dtype": "nonsense"}, "cannot load it with .*nonsense"),
        ({"pretrained": "other"}, "--model-args pretrained: give the model, or an adapter's directory, with --model"),
        ({"peft": "other", "model": "x"}, "--model-args model, peft: give the model"),
    ],
)
def test_arguments_that_a_backend_does_not_take_are_named(tiny_model: Path, args: dict[str, Any], message: str) -> None:
    """Unknown ones, wrong values, and another model than the one that is recorded."""
    with pytest.raises(InputError, match=message):
        load_backend("hf", str(tiny_model), args)


def test_a_batch_holds_something(tiny_model: Path) -> None:
    """At least one sequence."""
    with pytest.raises(InputError, match="--batch-size 0: expected at least 1"):
        load_backend("hf", str(tiny_model), batch_size=0)


def cut(name: str, size: int) -> Callable[[Path], None]:
    return lambda model: (model / name).write_bytes((model / name).read_bytes()[:size]) and None


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut("model.safetensors", 5_000), r"model\.safetensors: not readable weights .*half-written"),
        (cut("tokenizer.json", 500), "model: backend hf cannot load it with"),
        (cut("config.json", 50), r"config\.json:\d+:\d+: not JSON"),
        (lambda m: (m / "config.json").write_text('{"model_type": "nonsense"}'), "cannot load it .*`nonsense`"),
        (
            lambda m: (m / "config.json").write_text(
                (m / "config.json").read_text().replace('"hidden_size": 32', '"hidden_size": 64')
            ),
            "cannot load it with",
        ),
    ],
)
def test_a_damaged_model_is_an_input_error(
    tiny_model: Path, tmp_path: Path, damage: Callable[[Path], Any], message: str
) -> None:
    """Half-written weights, tokenizer or configuration, and one of another shape than its weights."""
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    damage(model)
    with pytest.raises(InputError, match=message):
        load_backend("hf", str(model))


@pytest.mark.parametrize("settings", [GREEDY, SAMPLED])
def test_logits_that_are_not_numbers_stop_hf_too(tiny_model: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    """lm-eval alone answers greedily with token 0 throughout, which reads as a model that knows nothing."""
    from safetensors.torch import load_file, save_file

    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    weights = load_file(model / "model.safetensors")
    weights["lm_head.weight"][7] = float("nan")
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RunError, match=r"logits are not numbers .* try --model-args dtype=float32"):
        load_backend("hf", str(model)).generate([(PROMPTS[0], settings)])


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([], {}),
        (["a=1"], {"a": 1}),
        (["a=1,b=x", "c=True"], {"a": 1, "b": "x", "c": True}),
        (["dtype=float32,"], {"dtype": "float32"}),
        (["base_url=http://h:1/v1?a=b"], {"base_url": "http://h:1/v1?a=b"}),
    ],
)
def test_arguments_are_read_as_lm_eval_reads_them(items: list[str], expected: dict[str, Any]) -> None:
    """KEY=VALUE, repeated or joined by commas; the first = divides."""
    assert parse_model_args(items) == expected


def test_arguments_that_are_none_are_named_at_once() -> None:
    """All of them in one message."""
    with pytest.raises(InputError, match="--model-args: expected KEY=VALUE, found 'a', 'c'"):
        parse_model_args(["a,b=1", "c"])


def test_chat_options(tiny: Backend) -> None:
    """Without --apply-chat-template plain text; with it the model's own template, system message and turns."""
    assert tiny.chat(apply=False) is PLAIN
    assert tiny.chat(apply=False, system="S").system == "S"
    chat = tiny.chat(apply=True, multiturn=True, system="S")
    assert (chat.multiturn, chat.system) == (True, "S")
    assert chat.template is not None
    assert chat.template([{"role": "user", "content": "Hi"}]) == "<user>Hi\n<assistant>"


def test_turns_need_a_template(tiny: Backend) -> None:
    """Without one there are no turns."""
    with pytest.raises(InputError, match="--fewshot-as-multiturn needs --apply-chat-template"):
        tiny.chat(apply=False, multiturn=True)


def test_a_model_without_a_chat_template_is_named(tiny_model: Path, tmp_path: Path) -> None:
    """The message says which option to drop."""
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    (model / "chat_template.jinja").unlink()
    with pytest.raises(InputError, match="model: has no chat template; drop --apply-chat-template"):
        load_backend("hf", str(model)).chat(apply=True)


class Server(ThreadingHTTPServer):
    """Speaks as much of OpenAI's completions as lm-eval asks for; `bodies` are the requests it had.

    It answers each prompt with the seed it was sent, so that equal seeds show.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies: list[dict[str, Any]] = []
        self.status = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.send_error(404)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        text = f" seed {body['seed']}\nnext line" if body["temperature"] else " greedy"
        if "messages" in body:
            choices = [{"index": 0, "message": {"content": text}}]
        else:
            prompts = [body["prompt"]] if isinstance(body["prompt"], str) else body["prompt"]
            choices = [{"index": i, "text": text} for i in range(len(prompts))]
        answer = json.dumps({"choices": choices}).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    pytest.importorskip("tenacity", reason="lm-eval's API models need it")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server() as running:
        thread = Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def served(server: Server, name: str = "local-completions", **args: Any) -> Backend:
    path = "chat/completions" if "chat" in name else "completions"
    arguments = {"base_url": f"{server.url}/{path}", "tokenizer_backend": "none", "max_retries": 1, **args}
    return load_backend(name, "served", arguments, batch_size=4)


def sent(server: Server) -> list[tuple[str, int]]:
    """(prompt, seed) of every sampled answer that was asked for."""
    found = []
    for body in server.bodies:
        prompts = [body["prompt"]] if isinstance(body["prompt"], str) else body["prompt"]
        found += [(prompt, body["seed"]) for prompt in prompts if body["temperature"]]
    return found


@pytest.mark.parametrize("concurrent", [1, 4])
def test_every_sample_of_a_served_model_has_its_own_seed(server: Server, concurrent: int) -> None:
    """lm-eval sends one seed with all requests; a server that honours it would give n equal samples."""
    backend = served(server, num_concurrent=concurrent)
    assert backend.per_request_seeds
    answers = backend.sample(PROMPTS, SAMPLED, 16, seed=5)
    assert [len({*group}) for group in answers] == [16] * 3
    assert len(set(sent(server))) == len(sent(server)) == 48
    assert {(body["temperature"], body["top_k"], body["top_p"]) for body in server.bodies} == {(1.0, 40, 1.0)}
    assert backend.sample(PROMPTS, SAMPLED, 16, seed=5) == answers


def test_a_served_model_is_probed_from_end_to_end(server: Server, tiny_facts: Any, tmp_path: Path) -> None:
    """Two stages against a server: the run is as of any other backend, and no two repeats share a seed."""
    facts = [fact for fact in tiny_facts if fact.split == "test"][:3]
    pools = {"P17": [fact for fact in tiny_facts if (fact.relation, fact.split) == ("P17", "dev")]}
    estimator = Sampled(n_exemplar_sets=2, n_exemplars=2, n_samples=4, n_before=1)
    run = run_probe(Probe(facts, pools, {}, estimator), served(server), tmp_path / "run")
    assert [(k.greedy_total, k.sampled_total) for k in read_knowledge(run.path).knowledge] == [(2, 8)] * 3
    for row in read_samples(run.samples["slick_probe"]):
        assert [len(set(answers)) for answers in row["resps"]] == [1, 1, 4, 4, 1]
        assert all(answer.startswith(" seed ") for answers in row["resps"][2:4] for answer in answers)
    assert len(set(sent(server))) == len(sent(server)) == 3 * 2 * 4
    assert run.provenance["model"]["name"] == "served"


def test_a_chat_model_is_served_too(server: Server, tiny_facts: Any, tmp_path: Path) -> None:
    """Exemplars reach it as turns of a conversation."""
    facts = [fact for fact in tiny_facts if fact.split == "test"][:1]
    pools = {"P17": [fact for fact in tiny_facts if (fact.relation, fact.split) == ("P17", "dev")]}
    backend = served(server, "local-chat-completions")
    chat = backend.chat(apply=True, multiturn=True, system="S")
    estimator = Sampled(n_exemplar_sets=1, n_exemplars=2, n_samples=3, n_before=0)
    run = run_probe(Probe(facts, pools, {}, estimator, chat=chat), backend, tmp_path / "run")
    roles = ["system", "user", "assistant", "user", "assistant", "user"]
    assert [[turn["role"] for turn in body["messages"]] for body in server.bodies] == [roles] * 4
    assert server.bodies[0]["messages"][-1]["content"] == facts[0].question
    (row,) = read_samples(run.samples["slick_probe"])
    assert len(set(row["resps"][1])) == 3


def test_a_chat_model_takes_conversations_only(server: Server) -> None:
    """The message says which option is missing, before anything is asked."""
    with pytest.raises(InputError, match="local-chat-completions takes conversations only; add --apply-chat-template"):
        served(server, "local-chat-completions").chat(apply=False)


def test_a_server_that_fails_is_a_run_error(server: Server) -> None:
    """Its answer is passed on; the command can be repeated."""
    backend = served(server)
    server.status = 500
    with pytest.raises(RunError, match=r"backend local-completions: 500 Server Error.*; repeat the command"):
        backend.generate([("p", GREEDY)])


def test_a_server_that_is_not_there_is_a_run_error(server: Server) -> None:
    """A refused connection, too."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    backend = served(server, base_url=f"http://127.0.0.1:{port}/v1/completions")
    with pytest.raises(RunError, match=r"backend local-completions: .*refused.*; repeat the command"):
        backend.generate([("p", GREEDY)])


@pytest.mark.parametrize("name", ["hf", "slick-hf"])
def test_a_prompt_that_does_not_fit_is_refused(tiny_model: Path, name: str) -> None:
    """Cut at its beginning it would lose exemplars, silently."""
    backend = load_backend(name, str(tiny_model), {"max_length": 64})
    request = {"until": ["\n"], "max_gen_toks": 8, "do_sample": False, "temperature": 0.0}
    assert len(backend.generate([("Q: x", request)])) == 1
    with pytest.raises(InputError, match=r"a prompt of \d+ tokens and 8 for its answer do not fit .* context of 64"):
        backend.generate([("Q: x" * 100, request)])


def test_answers_without_tokens_are_named(tiny_model: Path) -> None:
    """A tokenizer that removes a sign can make nothing of an answer that is nothing else."""
    from tokenizers import normalizers

    backend = load_backend("slick-hf", str(tiny_model))
    facts = [Fact.create("Q1?", ["\u200b"]), Fact.create("Q2?", ["\u200b", "x"]), Fact.create("Q3?", ["y"])]
    assert backend.unwritable(facts) == []
    backend.lm.tokenizer.backend_tokenizer.normalizer = normalizers.Replace("\u200b", "")
    (note,) = backend.unwritable(facts)
    assert note.startswith("the tokenizer makes no tokens of the answers of 1 facts, so nothing can match ('Q1?'")
    assert backend.unwritable([]) == []
