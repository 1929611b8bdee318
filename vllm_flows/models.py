"""The schema of models.yaml: what should be served, as frozen data.

The fields and defaults are those users of the chart know; `revision` is ours. The same
classes are the parameters of the flows, so titles and descriptions show in Prefect's form.
A problem that concerns several fields is a `PydanticCustomError` of type `across_fields`
whose context says in `at` which field to point at.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    StringConstraints,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from vllm_flows.extra_arguments import check_extra_argument, check_extra_arguments
from vllm_flows.model_checks import (
    NAME_LIMIT,
    check_cpu,
    check_hub_id,
    check_name,
    check_revision,
    check_size,
)
from vllm_flows.quantities import parse_quantity
from vllm_flows.update_window import check_window

# Lax mode would take `yes` for 1 and "8192" for 8192.
StrictInteger = Annotated[int, Strict()]
StrictNumber = Annotated[float, Strict()]
StrictBoolean = Annotated[bool, Strict()]
StrictText = Annotated[str, Strict()]
NonEmptyText = Annotated[str, Strict(), StringConstraints(min_length=1)]
Size = Annotated[str, BeforeValidator(check_size, json_schema_input_type=str)]
Cores = Annotated[int | float | str, BeforeValidator(check_cpu)]
Argument = Annotated[StrictText, AfterValidator(check_extra_argument)]
# A key whose lines below are all commented out is null.
Arguments = Annotated[
    tuple[Argument, ...],
    BeforeValidator(lambda value: () if value is None else value),
    AfterValidator(check_extra_arguments),
]

# Helm reads numbers as floating-point and writes those from here on with an exponent.
_HELM_EXPONENT = 1_000_000


Dtype = Literal["auto", "bfloat16", "float16", "float32", "half", "float"]


class VllmConfig(BaseModel):
    """Options of the vLLM engine; what is not set is left to vLLM."""

    # Inputs are hidden: one may be a secret that was pasted into the wrong place.
    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, hide_input_in_errors=True
    )

    max_model_len: StrictInteger | None = Field(
        None,
        alias="maxModelLen",
        title="Context length",
        description="Longest request in tokens, prompt and answer together",
        gt=0,
        le=100_000_000,
    )
    dtype: Dtype | None = Field(
        None, title="Data type", description="Number format of weights and activations"
    )
    tensor_parallel_size: StrictInteger | None = Field(
        None,
        alias="tensorParallelSize",
        title="Tensor parallelism",
        description="GPUs that share one replica; equal to requestGPU",
        ge=1,
        le=1024,
    )
    gpu_memory_utilization: StrictNumber | None = Field(
        None,
        alias="gpuMemoryUtilization",
        title="GPU memory utilization",
        description="Fraction of each GPU's memory that vLLM may fill",
        gt=0,
        le=1,
    )
    enable_prefix_caching: StrictBoolean | None = Field(
        None,
        alias="enablePrefixCaching",
        title="Prefix caching",
        description="Reuse the computed beginning of prompts; on unless false",
    )
    enable_chunked_prefill: StrictBoolean | None = Field(
        None,
        alias="enableChunkedPrefill",
        title="Chunked prefill",
        description="Split long prompts so that running answers go on",
    )
    max_num_seqs: StrictInteger | None = Field(
        None,
        alias="maxNumSeqs",
        title="Concurrent sequences",
        description="Most requests computed in one step",
        ge=1,
        le=1_000_000,
    )
    max_loras: StrictInteger | None = Field(
        None,
        alias="maxLoras",
        title="LoRA adapters per batch",
        description="Most LoRA adapters in one batch",
        ge=1,
        le=1_000_000,
    )
    runner: Literal["auto", "pooling"] | None = Field(
        None, title="Runner", description="Kind of model runner"
    )
    convert: Literal["token_embed", "embed", "token_classify", "classify", "score"] | None = Field(
        None, title="Conversion", description="Adapter that makes a pooling model of it"
    )
    v0: StrictInteger | None = Field(
        None,
        title="Engine version 0",
        description="1 asks an old vLLM for its version 0 engine",
        ge=0,
        le=1,
    )
    prometheus_multiproc_dir: StrictText | None = Field(
        None,
        alias="prometheusMultiprocDir",
        title="Metrics directory",
        description="Directory in the container where metrics of several processes meet",
        pattern=r"^/[^\s\x00]*$",
    )
    extra_args: Arguments = Field(
        (),
        alias="extraArgs",
        title="Extra arguments",
        description="Further arguments of `vllm serve`, one per item",
    )

    def as_chart_values(self) -> dict[str, object]:
        """Return what was set, under the chart's keys.

        `runner` and `convert` become arguments: charts before 0.1.12 ignore the keys. Large
        numbers become text: helm would write 1048576 as 1.048576e+06.
        """
        set_here = self.model_dump(
            by_alias=True, exclude_none=True, exclude={"runner", "convert", "extra_args"}
        )
        values: dict[str, object] = {
            key: str(value) if isinstance(value, int) and value >= _HELM_EXPONENT else value
            for key, value in set_here.items()
        }
        arguments = [
            text
            for flag, value in (("--runner", self.runner), ("--convert", self.convert))
            if value is not None
            for text in (flag, value)
        ]
        if arguments or self.extra_args:
            values["extraArgs"] = [*arguments, *self.extra_args]
        return values


class SmokeTest(BaseModel):
    """What a model is asked when it serves, and what its answer must hold."""

    # Inputs are hidden: one may be a secret that was pasted into the wrong place.
    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, hide_input_in_errors=True
    )

    prompt: NonEmptyText = Field(
        "The capital of France is",
        title="Prompt",
        description="What is asked; the answer is 16 tokens long",
    )
    expect: NonEmptyText | None = Field(
        None, title="Expected text", description="Text that the completion must hold, as written"
    )
    chat: StrictBoolean | None = Field(
        None,
        title="Chat",
        description="Whether it must answer a chat (true) or is not asked for one (false, for "
        "base models); when not said, a model without a chat template is excused",
    )


class Model(BaseModel):
    """One model to serve: where its weights come from and what each replica gets."""

    # Inputs are hidden: one may be a secret that was pasted into the wrong place.
    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, hide_input_in_errors=True
    )

    name: Annotated[StrictText, AfterValidator(check_name)] = Field(
        title="Name",
        description=f"Model id in API requests: a DNS label of at most {NAME_LIMIT} characters",
    )
    model_url: Annotated[StrictText, AfterValidator(check_hub_id)] = Field(
        alias="modelURL",
        title="Hub id",
        description="Hugging Face id, such as Qwen/Qwen3-4B",
    )
    revision: Annotated[StrictText, AfterValidator(check_revision)] = Field(
        "main", title="Revision", description="Branch, tag or commit of the Hub repository"
    )
    replica_count: StrictInteger = Field(
        1,
        alias="replicaCount",
        title="Replicas",
        description="Copies that share the requests; 0 keeps the weights and serves nothing",
        ge=0,
        le=1000,
    )
    request_cpu: Cores = Field(
        6, alias="requestCPU", title="CPU", description="Cores per replica: 6, 1.5 or 500m"
    )
    request_memory: Size = Field(
        "16Gi", alias="requestMemory", title="Memory", description="Memory per replica"
    )
    limit_memory: Size | None = Field(
        None, alias="limitMemory", title="Memory limit", description="Memory limit per replica"
    )
    request_gpu: StrictInteger = Field(
        1, alias="requestGPU", title="GPUs", description="GPUs per replica", ge=0, le=1024
    )
    pvc_storage: Size = Field(
        "50Gi",
        alias="pvcStorage",
        title="Storage",
        description="Size of the volume that holds the model's weights",
    )
    node_selector: dict[NonEmptyText, StrictText] = Field(
        default_factory=dict,
        alias="nodeSelector",
        title="Node selector",
        description="Labels that a node must have, such as nvidia.com/gpu.product",
    )
    allow_pickle: StrictBoolean = Field(
        False,
        alias="allowPickle",
        title="Allow pickles",
        description="Load weights that exist as pickles only; unpickling can run code",
    )
    allow_unsafe: StrictBoolean = Field(
        False,
        alias="allowUnsafe",
        title="Allow unsafe files",
        description="Load files although the Hub's security scan calls them unsafe",
    )
    trust_remote_code: StrictBoolean | None = Field(
        None,
        alias="trustRemoteCode",
        title="Trust remote code",
        description="Run the repository's own code (true) or serve without it (false); "
        "a repository that has some is refused until this is said",
    )
    ignore_fit: StrictBoolean = Field(
        False,
        alias="ignoreFit",
        title="Ignore fit",
        description="Go on although the plan says that vLLM would refuse the model or lack memory",
    )
    allow_downtime: StrictBoolean = Field(
        False,
        alias="allowDowntime",
        title="Allow downtime",
        description="Stop the one replica before its successor starts, unless both surely fit",
    )
    on_failure: Literal["rollback", "keep", "retry"] = Field(
        "rollback",
        alias="onFailure",
        title="On failure",
        description="After an update that does not answer: go back to what served, keep the new "
        "one, or try once more and then go back",
    )
    update: Literal["auto", "window", "approve", "never"] = Field(
        "auto",
        title="Update",
        description="When `revision` moves to a new commit: roll it out at once, in the window of "
        "updateWindow, after somebody agreed, or never",
    )
    update_window: Annotated[StrictText, AfterValidator(check_window)] | None = Field(
        None,
        alias="updateWindow",
        title="Update window",
        description="Hours in which an update may begin, such as Sun 02:00-05:00",
        validate_default=True,
    )
    smoke_test: Annotated[
        SmokeTest, BeforeValidator(lambda value: {} if value is None else value)
    ] = Field(
        default_factory=SmokeTest,
        alias="smokeTest",
        title="Smoke test",
        description="What the model is asked when it serves, and what it must answer",
    )
    vllm_config: Annotated[
        VllmConfig, BeforeValidator(lambda value: {} if value is None else value)
    ] = Field(
        default_factory=VllmConfig,
        alias="vllmConfig",
        title="vLLM options",
        description="Options of the engine",
        validate_default=True,
    )

    def __hash__(self) -> int:
        """Equal models have equal names; the node selector itself cannot be hashed."""
        return hash((self.name, self.model_url))

    @field_validator("limit_memory", mode="after")
    @classmethod
    def _limit_holds_the_request(cls, value: str | None, info: ValidationInfo) -> str | None:
        request = info.data.get("request_memory")
        if value and request and parse_quantity(value) < parse_quantity(request):
            message = f"{value} is less than requestMemory, {request}"
            raise ValueError(message)
        return value

    @field_validator("update_window", mode="after")
    @classmethod
    def _window_is_used(cls, value: str | None, info: ValidationInfo) -> str | None:
        update = info.data.get("update")
        if update is None or (update == "window") == (value is not None):
            return value
        if value is None:
            text, at = "window needs updateWindow, such as Sun 02:00-05:00", ["update"]
        else:
            text = f"counts for nothing while update is {update}; write update: window"
            at = ["updateWindow"]
        raise PydanticCustomError("across_fields", "{text}", {"text": text, "at": at})

    @field_validator("vllm_config", mode="after")
    @classmethod
    def _gpus_are_all_used(cls, value: VllmConfig, info: ValidationInfo) -> VllmConfig:
        gpus = info.data.get("request_gpu")
        size = value.tensor_parallel_size
        if gpus is None or (size or 1) == max(gpus, 1):
            return value
        if size is None:
            text = (
                f"vLLM would use one of the {gpus} GPUs and leave {gpus - 1} idle; "
                f"set vllmConfig.tensorParallelSize: {gpus}"
            )
            at = ["requestGPU"]
        else:
            text = f"is {size} while requestGPU is {gpus}; make them equal"
            at = ["vllmConfig", "tensorParallelSize"]
        raise PydanticCustomError("across_fields", "{text}", {"text": text, "at": at})


def answers_prompts(model: Model) -> bool:
    """Say whether the model can be asked: it has a replica, and does not only embed."""
    return model.replica_count > 0 and not embeds(model)


def embeds(model: Model) -> bool:
    """Say whether it is a pooling model, which answers no prompt however many replicas it has."""
    return model.vllm_config.runner == "pooling" or model.vllm_config.convert is not None
