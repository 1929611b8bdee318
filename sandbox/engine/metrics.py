"""Counters of the simulated engine in Prometheus' text format, named as vLLM's."""

from __future__ import annotations

from dataclasses import dataclass, field

_BUCKETS = (0.001, 0.01, 0.1, 1.0, 10.0)


@dataclass
class Metrics:
    """What one engine counted since its start."""

    model_name: str
    running: int = 0
    prompt_tokens: int = 0
    generation_tokens: int = 0
    finished: int = 0
    first_token_seconds: list[float] = field(default_factory=list)

    def render(self) -> str:
        """Return the page that GET /metrics answers."""
        gauges = {
            "vllm:num_requests_running": self.running,
            "vllm:num_requests_waiting": 0,
            "vllm:kv_cache_usage_perc": 0.0,
        }
        counters = {
            "vllm:prompt_tokens_total": self.prompt_tokens,
            "vllm:generation_tokens_total": self.generation_tokens,
            "vllm:request_success_total": self.finished,
        }
        lines = [self._sample(name, "gauge", value) for name, value in gauges.items()]
        lines += [self._sample(name, "counter", value) for name, value in counters.items()]
        return "\n".join([*lines, *self._first_token(), ""])

    def _sample(self, name: str, kind: str, value: float) -> str:
        return f'# TYPE {name} {kind}\n{name}{{model_name="{self.model_name}"}} {value}'

    def _first_token(self) -> list[str]:
        name = "vllm:time_to_first_token_seconds"
        label = f'model_name="{self.model_name}"'
        lines = [f"# TYPE {name} histogram"]
        for limit in (*_BUCKETS, float("inf")):
            count = sum(each <= limit for each in self.first_token_seconds)
            text = "+Inf" if limit == float("inf") else str(limit)
            lines.append(f'{name}_bucket{{{label},le="{text}"}} {count}')
        lines.append(f"{name}_sum{{{label}}} {sum(self.first_token_seconds)}")
        lines.append(f"{name}_count{{{label}}} {len(self.first_token_seconds)}")
        return lines
