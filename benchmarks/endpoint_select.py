"""Selecting over HTTP: our endpoint against a bare app, FastChat and DB-GPT.

One core for the server, wrk on another with 32 connections over loopback, logs off, asyncio's own
event loop for all (no uvloop: docs/decisions/0007). What is compared:

- bare: uvicorn and an ASGI app that answers a constant with the headers and the body of one of our
  answers;
- bare, limits: the same behind our limits on the reading of a request;
- FastChat 0.2.36: POST /get_worker_address of its controller (shortest_queue, its default);
- DB-GPT 0.8.2: GET /api/controller/models of its controller, the healthy instances of one model, of
  which its client would then pick one at random (the client's work is not counted).

All servers hold 1,000 instances in 100 models unless the line says otherwise, and are asked for
their models by turns: with 100,000 instances for a thousand models, which is also a matter of what
the processor's caches hold. Peers run without their logs and tracers, which is to their advantage;
FastChat "as shipped" logs each request and each pick into a file, as its own command does.
"""

from __future__ import annotations

import json
from contextlib import ExitStack

import program
from load import Answer, Call, Contender, Row, Server, measure, of_ours, of_peer, options, serving
from load import show as show_table
from peers.fleet import Fleet

USUAL = Fleet(1_000, 10)
FLEETS = {
    "10": Fleet(10, 10),
    "100,000": Fleet(100_000, 10),
    "1 a model": Fleet(1_000, 1),
    "1,000 a model": Fleet(1_000, 1_000),
}
FLEETS_OF_PEERS = {
    "FastChat": {
        "10": FLEETS["10"],
        "1,000": USUAL,
        "100,000": FLEETS["100,000"],
        "1,000 a model": FLEETS["1,000 a model"],
    },
    "DB-GPT": {"10": FLEETS["10"], "1,000": USUAL, "1,000 a model": FLEETS["1,000 a model"]},
}
"""FastChat looks at all workers for each pick, DB-GPT at those of the model."""
SHIPPED = ("10", "1,000")
"""Of these sizes FastChat is also measured with the logs that its own command writes."""
BESIDE_SHIPPED = frozenset(("FastChat", name) for name in SHIPPED)
OTHER_POLICIES = ("round-robin", "least-loaded", "sticky")
MOST_MODELS = 1_000
"""How many models are asked for by turns."""


def asked(fleet: Fleet) -> list[str]:
    """The models that are asked for, from all over the registry."""
    models = fleet.models
    return models[:: -(-len(models) // MOST_MODELS)]


def selects(fleet: Fleet, more: str = "") -> list[Call]:
    """Our requests."""
    return [Call(f"/api/v1/select?model={model}{more}") for model in asked(fleet)]


def with_keys(fleet: Fleet) -> list[Call]:
    """Our requests with ten keys for each model."""
    return [
        Call(f"/api/v1/select?model={model}&policy=sticky&key=session-{number}")
        for number in range(10)
        for model in asked(fleet)[:100]
    ]


def of_fastchat(fleet: Fleet) -> list[Call]:
    """FastChat's requests."""
    return [Call("/get_worker_address", json.dumps({"model": model})) for model in asked(fleet)]


def of_dbgpt(fleet: Fleet) -> list[Call]:
    """DB-GPT's requests."""
    path = "/api/controller/models?healthy_only=true&model_name="
    return [Call(path + model) for model in asked(fleet)]


def ours(stack: ExitStack, fleet: Fleet) -> Server:
    """Our endpoint."""
    return stack.enter_context(serving(of_ours("our_endpoint", fleet)))


def answering(stack: ExitStack, answer: Answer, **environment: str) -> Contender:
    """A bare app; it is asked what we are asked."""
    command = of_ours("bare", Fleet(0, 1))
    server = stack.enter_context(serving(command, answer=answer, environment=environment))
    return Contender(server, selects(USUAL))


def main() -> None:
    """Print the table."""
    arguments = options(__doc__)
    with ExitStack() as stack:
        usual = ours(stack, USUAL)
        answer = usual.ask(selects(USUAL)[0])
        contenders = {
            "bare": answering(stack, answer),
            "weighted": Contender(usual, selects(USUAL)),
            "bare, limits": answering(stack, answer, IMPATIENT="1"),
            **{
                policy: Contender(usual, selects(USUAL, f"&policy={policy}"))
                for policy in OTHER_POLICIES[:-1]
            },
            "sticky": Contender(usual, with_keys(USUAL)),
        }
        real = stack.enter_context(serving(program.COMMAND))
        program.register(real, USUAL)
        contenders["modelinstance serve"] = Contender(real, selects(USUAL))
        for name, fleet in FLEETS.items():
            contenders[name] = Contender(ours(stack, fleet), selects(fleet))
        large = contenders["100,000"].server
        contenders["one of 100,000"] = Contender(large, selects(FLEETS["10"]))
        peers = {
            "FastChat": ("fastchat_controller", of_fastchat),
            "DB-GPT": ("dbgpt_controller", of_dbgpt),
        }
        for peer, (module, calls) in peers.items():
            for name, fleet in FLEETS_OF_PEERS[peer].items():
                server = stack.enter_context(serving(of_peer(module, fleet)))
                contenders[f"{peer}, {name}"] = Contender(server, calls(fleet))
        for name in SHIPPED:
            server = stack.enter_context(
                serving(
                    of_peer("fastchat_controller", FLEETS_OF_PEERS["FastChat"][name]),
                    environment={"AS_SHIPPED": "1"},
                )
            )
            calls_of_it = of_fastchat(FLEETS_OF_PEERS["FastChat"][name])
            contenders[f"FastChat as shipped, {name}"] = Contender(server, calls_of_it)
        rates = measure(contenders, arguments)
    same = {"1,000": "weighted"}
    show_table(
        f"Selects over HTTP; an answer has {len(answer.body)} bytes and {len(answer.headers)} "
        f"headers",
        [
            Row("weighted : bare", "weighted", "bare", 0.8),
            Row("weighted, modelinstance serve : bare", "modelinstance serve", "bare", 0.8),
            *(Row(f"{policy} : bare", policy, "bare", 0.6) for policy in OTHER_POLICIES),
            Row("bare with our limits : bare", "bare, limits", "bare"),
            *(
                Row(
                    f"weighted : FastChat as shipped, {name}",
                    same.get(name, name),
                    f"FastChat as shipped, {name}",
                    8,
                )
                for name in SHIPPED
            ),
            *(
                Row(
                    f"weighted : {peer}, {name}",
                    same.get(name, name),
                    f"{peer}, {name}",
                    None if (peer, name) in BESIDE_SHIPPED else 8,
                )
                for peer, fleets in FLEETS_OF_PEERS.items()
                for name in fleets
            ),
            *(
                Row(f"bare : {peer}, {name}", "bare", f"{peer}, {name}")
                for peer, fleets in FLEETS_OF_PEERS.items()
                for name in fleets
            ),
            Row("100,000 instances : 10, one model asked for", "one of 100,000", "10", 0.9),
            Row("100,000 instances : 10, all models asked for", "100,000", "10"),
            Row("1,000 instances a model : 1", "1,000 a model", "1 a model", 0.9),
        ],
        rates,
    )


if __name__ == "__main__":
    main()
