"""The load of an engine, by the names of each kind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelinstance.agent.metrics import ENGINES, Reading, UnreadableMetricsError, read
from modelinstance.client import Load
from support.engine import METRIC_NAMES

VLLM = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 4.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="m"} 1.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="x"} 50.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.5
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.25
# TYPE vllm:generation_tokens counter
vllm:generation_tokens_total{engine="0",model_name="m"} 100.0
vllm:generation_tokens_total{engine="1",model_name="m"} 11.0
vllm:generation_tokens_created{engine="1",model_name="m"} 1.7e9
python_gc_objects_collected_total{generation="0"} 12.0
"""
OLDER_VLLM = 'vllm:num_requests_running{m="a"} 1\nvllm:gpu_cache_usage_perc{m="a"} 0.125\n'
SGLANG = """\
sglang:num_running_reqs{model_name="m"} 161.0
sglang:num_queue_reqs{model_name="m"} 2826.0
sglang:token_usage{model_name="m"} 0.28
sglang:generation_tokens_total{model_name="m"} 7.5e+06
"""
LLAMACPP = """\
llamacpp:requests_processing 1
llamacpp:requests_deferred 2
llamacpp:tokens_predicted_total 17
llamacpp:tokens_predicted_seconds_total 3.5
"""
TGI = """\
tgi_request_generated_tokens_bucket{le="+Inf"} 44
tgi_request_generated_tokens_sum 8123
tgi_request_generated_tokens_count 44
tgi_batch_current_size 4
tgi_queue_size 7
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (VLLM, Reading("vllm", Load(7, 1, 0.375), 111)),
        (OLDER_VLLM, Reading("vllm", Load(1, 0, 0.125))),
        (SGLANG, Reading("sglang", Load(161, 2826, 0.28), 7.5e6)),
        (LLAMACPP, Reading("llamacpp", Load(1, 2), 17)),
        (TGI, Reading("tgi", Load(4, 7), 8123)),
        ("tgi_request_generated_tokens_sum 1\n", Reading("tgi", None, 1)),
        ("vllm:num_requests_running NaN\ntgi_queue_size 1\n", Reading("tgi", Load(0, 1))),
        ("vllm:num_requests_running -1\n", Reading("vllm", Load(0, 0))),
        ("vllm:num_requests_running 1e300\n", Reading("vllm", Load(1e12, 0))),
        ("vllm:num_requests_waiting_by_reason 5\ntgi_queue_size 1\n", Reading("tgi", Load(0, 1))),
        ("", None),
        ("something_else 1\n", None),
        ("<html>", None),
    ],
)
def test_a_reading(text: str, expected: Reading | None) -> None:
    assert read(text) == expected


def test_another_kind_of_engine_is_not_mistaken_for_the_one_that_was_named() -> None:
    assert read(SGLANG, "vllm") is None
    assert read(SGLANG + VLLM, "sglang") == read(SGLANG)


@pytest.mark.parametrize("text", ["tgi_queue_size", "tgi_queue_size x", 'tgi_queue_size{a="} 1'])
def test_what_is_no_exposition_is_refused(text: str) -> None:
    with pytest.raises(UnreadableMetricsError, match=r"^they are not in Prometheus' text format: "):
        read(text)


NAMES = [name for kind in ENGINES.values() for name in (*kind.running, *kind.generated)]


@given(
    st.lists(
        st.tuples(st.sampled_from(NAMES), st.text('{}="\\, \n#aN1.e+-_', max_size=12)).map("".join)
    ).map("\n".join)
)
def test_no_text_makes_it_fail_otherwise(text: str) -> None:
    try:
        reading = read(text)
    except UnreadableMetricsError:
        return
    if reading is not None and reading.load is not None:
        assert 0 <= reading.load.running <= 1e12


def test_the_fake_engine_has_names_that_are_known() -> None:
    for kind, names in METRIC_NAMES.items():
        for what, name in names.items():
            assert name.partition("{")[0] in getattr(ENGINES[kind], what)
