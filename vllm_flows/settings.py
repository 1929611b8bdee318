"""What the environment says: one class, one prefix, and a `.env` file in the working directory.

A flag on the command line wins over the environment, the environment over `.env`, `.env`
over the default. Secrets are `SecretStr`: no repr, log line or Prefect parameter shows them.
pydantic-settings would read the same, and takes as long to import as a read verb may last.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from datetime import timedelta
from errno import EISDIR
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from vllm_flows.addresses import is_address, passwords_in
from vllm_flows.durations import Duration
from vllm_flows.errors import ConfigurationError
from vllm_flows.images import LATEST, Image, parse_image, parse_tag
from vllm_flows.quantities import parse_quantity
from vllm_flows.redaction import collect

PREFIX = "VLLM_"
"""What the variable of a setting begins with; its name in capitals follows."""
OF_VAULT = {
    "VAULT_ADDR": "vault_address",
    "VAULT_TOKEN": "vault_token",
    "VAULT_NAMESPACE": "vault_namespace",
    "VAULT_CACERT": "vault_ca_cert",
}
"""Variables of Vault's own command line, and the settings that they stand in for."""
ENV_FILE = ".env"


class Settings(BaseModel):
    """The product's settings; each field's variable is its name in capitals after `VLLM_`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    namespace: str = Field("vllm", description="Kubernetes namespace")
    chart: str = Field(
        "vllm/vllm-stack",
        min_length=1,
        description="Chart: a folder, an OCI reference, or a name in `chart_repository`",
    )
    chart_repository: str = Field(
        "https://vllm-project.github.io/production-stack",
        description="Chart repository asked when `chart` is a plain `repository/name`",
    )
    chart_version: str = Field("0.1.8", min_length=1, description="Helm chart version")
    helm_timeout: Duration = Field(
        timedelta(minutes=30), description="How long installing, loading and getting ready may take"
    )
    approval_timeout: Duration = Field(
        timedelta(hours=24),
        description="How long an update with `update: approve` waits for somebody to agree",
    )
    drain_timeout: Duration = Field(
        timedelta(minutes=2),
        description="How long replaced replicas may go on with the requests that they have",
    )
    weights_timeout: Duration = Field(
        timedelta(hours=4), description="How long one model's weights may take to arrive"
    )
    weights_files_at_once: int = Field(
        4, ge=1, le=32, description="Files of one model that are fetched at the same time"
    )
    weights_xet: bool = Field(
        default=False,
        description="Fetch large files by Xet: faster on some networks, and needs far more memory",
    )
    weights_user: int | None = Field(
        None,
        ge=1,
        le=2**31 - 1,
        description="User and group id of the weights Jobs, for Pod Security `restricted`; "
        "empty for the image's user",
    )
    autoscaling: bool = Field(
        default=False,
        description="Nodes come when pods wait: a model without room now is no reason to stop",
    )
    model_image: str = Field(
        "vllm/vllm-openai",
        min_length=1,
        description="Engine image repository; REPOSITORY@sha256:… for a digest",
    )
    model_tag: str = Field(
        LATEST, min_length=1, description="Engine image tag; TAG@sha256:… adds its digest"
    )
    runtime_class: str = Field(
        "nvidia", description="RuntimeClass of engine pods; empty for the cluster's default"
    )
    storage_class: str = Field("", description="StorageClass; empty for the cluster's default")
    storage_access_mode: Literal["ReadWriteOnce", "ReadWriteMany"] = Field(
        "ReadWriteOnce", description="Access mode of the weights claims"
    )
    hf_token: SecretStr | None = Field(None, description="Hugging Face token for gated models")
    api_key: SecretStr | None = Field(None, description="API key that protects the endpoint")
    hub_endpoint: str = Field(
        "https://huggingface.co", min_length=1, description="Address of the Hub"
    )
    router_enabled: bool = Field(default=True, description="Run the router")
    router_image: str = Field(
        "", description="Router image, as REPOSITORY:TAG@sha256:…; empty for the chart's"
    )
    router_replicas: int = Field(1, ge=1, le=100, description="Router replicas")
    router_request_cpu: str = Field("100m", description="CPU request of a router replica")
    router_request_memory: str = Field("256Mi", description="Memory request of a router replica")
    router_limit_memory: str = Field("768Mi", description="Memory limit of a router replica")
    router_url: str = Field(
        "", description="Address of the API; empty for the Service or a port-forward"
    )
    device_plugin_chart: str = Field(
        "nvidia-device-plugin",
        min_length=1,
        description="Chart of the NVIDIA device plugin: a folder, an OCI reference, or a name",
    )
    device_plugin_repository: str = Field(
        "https://nvidia.github.io/k8s-device-plugin",
        description="Chart repository asked when `device_plugin_chart` is a plain name",
    )
    device_plugin_version: str = Field(
        "0.19.1", min_length=1, description="Version of the device plugin's chart"
    )
    device_plugin_namespace: str = Field(
        "nvidia-device-plugin", description="Namespace of the device plugin"
    )
    secrets: Literal["auto", "vault", "kubernetes"] = Field(
        "auto",
        description="Where token and key are kept: in Vault, in plain Secrets, or by what is there",
    )
    secret_store: str = Field(
        "vault-secret-store",
        min_length=1,
        description="The ClusterSecretStore by which the External Secrets Operator reads Vault",
    )
    vault_address: str = Field("", description="Address of Vault, as in VAULT_ADDR")
    vault_token: SecretStr | None = Field(None, description="Vault token, as in VAULT_TOKEN")
    vault_namespace: str = Field("", description="Vault namespace, as in VAULT_NAMESPACE")
    vault_ca_cert: str = Field("", description="File with Vault's CA, as in VAULT_CACERT")
    vault_mount: str = Field("secret", description="Mount of the KV version 2 engine")
    vault_hf_token_path: str = Field(
        "vllm/huggingface", description="Path of the Hub token, under the key `token`"
    )
    vault_api_key_path: str = Field(
        "vllm/api-key", description="Path of the API key, under the key `api-key`"
    )
    vault_login: Literal["token", "kubernetes", "approle"] = Field(
        "token", description="How to log in to Vault"
    )
    vault_login_mount: str = Field(
        "", description="Mount of the login method; empty for the method's name"
    )
    vault_role: str = Field("", description="Role of the Kubernetes login")
    vault_jwt_file: Path = Field(
        Path("/var/run/secrets/kubernetes.io/serviceaccount/token"),
        description="The service account's token, for the Kubernetes login",
    )
    vault_role_id: str = Field("", description="RoleID of the AppRole login")
    vault_secret_id: SecretStr | None = Field(None, description="SecretID of the AppRole login")
    vault_wrapped_secret_id: SecretStr | None = Field(
        None, description="Wrapping token of a SecretID, which is unwrapped once"
    )
    vault_allow_root: bool = Field(default=False, description="Accept a root token of Vault")
    timezone: str = Field(
        "UTC", description="Time zone of `updateWindow` and of the schedules; empty for UTC"
    )
    kube_context: str = Field("", description="kubeconfig context; empty for the current one")
    webhook_secret: SecretStr | None = Field(
        None, description="Secret that the Hub's webhooks carry, for `vllm-flows webhook`"
    )
    pushgateway: str = Field(
        "", description="Address of the Pushgateway that is told the metrics of each run"
    )
    metrics_dir: Path | None = Field(
        None, description="Folder of node_exporter's textfile collector that they are written to"
    )
    models_file: Path = Field(Path("models.yaml"), description="The file that lists the models")

    @field_validator(
        *("hf_token", "api_key", "webhook_secret", "weights_user", "metrics_dir"),
        *("vault_token", "vault_secret_id", "vault_wrapped_secret_id"),
        mode="before",
    )
    @classmethod
    def _blank_is_unset(cls, value: object) -> object:
        """`VLLM_HF_TOKEN=` in a .env file means that there is none, not an empty one."""
        if isinstance(value, str):
            return value.strip() or None
        return value

    @field_validator("model_image", "router_image")
    @classmethod
    def _is_image(cls, value: str, field: ValidationInfo) -> str:
        image = parse_image(value) if value else None
        if image and image.tag and field.field_name == "model_image":
            message = f"{value!r} has a tag, which is another setting: VLLM_MODEL_TAG={image.tag}"
            raise ValueError(message)
        return value

    @field_validator("model_tag")
    @classmethod
    def _is_tag(cls, value: str, field: ValidationInfo) -> str:
        _, digest = parse_tag(value)
        image = field.data.get("model_image")  # not there when it is wrong itself
        if digest and image and parse_image(image).digest not in {"", digest}:
            message = f"{value!r} has another digest than VLLM_MODEL_IMAGE"
            raise ValueError(message)
        return value

    @field_validator("router_request_cpu", "router_request_memory", "router_limit_memory")
    @classmethod
    def _is_quantity(cls, value: str) -> str:
        parse_quantity(value)
        return value

    @field_validator("router_url", "hub_endpoint", "device_plugin_repository")
    @classmethod
    def _is_address(cls, value: str) -> str:
        if value and not is_address(value):
            message = f"{value!r} is not an address such as https://models.example.com"
            if "@" in value:
                message = "an address here has no user or password: https://models.example.com"
            raise ValueError(message)
        return value.rstrip("/")

    @field_validator("pushgateway")
    @classmethod
    def _is_pushgateway(cls, value: str) -> str:
        if value and not is_address(value, login=True):
            message = "not an address such as http://user:password@example.com:9091 (%40 for an @)"
            raise ValueError(message)
        return value.rstrip("/")

    @field_validator("vault_mount", "vault_hf_token_path", "vault_api_key_path")
    @classmethod
    def _is_vault_path(cls, value: str) -> str:
        path = value.strip("/")
        if not re.fullmatch(r"[A-Za-z0-9_\-.]+(/[A-Za-z0-9_\-.]+)*", path) or ".." in path:
            message = f"{value!r} is not a path in Vault such as vllm/api-key"
            raise ValueError(message)
        return path

    @field_validator("timezone")
    @classmethod
    def _is_time_zone(cls, value: str) -> str:
        if not value.strip():
            return "UTC"
        try:
            return ZoneInfo(value).key
        except (KeyError, OSError, ValueError):  # unknown, a folder's name, or no name at all
            message = f"{value!r} is not a time zone such as UTC or Asia/Tokyo"
            raise ValueError(message) from None

    @field_validator("namespace", "device_plugin_namespace")
    @classmethod
    def _is_namespace_name(cls, value: str) -> str:
        if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", value):
            message = f"{value!r} is not a namespace name: lower-case letters, digits and '-'"
            raise ValueError(message)
        return value

    @model_validator(mode="after")
    def _keeps_secrets(self) -> Settings:
        """Collect what must be shown nowhere: secrets, and passwords in addresses."""
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, SecretStr):
                collect(value.get_secret_value())
            elif isinstance(value, str):
                collect(*passwords_in(value))
        return self

    @property
    def routers(self) -> int:
        """The replicas of the router that are wanted."""
        return self.router_replicas if self.router_enabled else 0

    @property
    def engine_image(self) -> Image:
        """The engines' image, which the weights Jobs run too.

        A repository with a digest needs no tag, and has none unless one is set.
        """
        named = parse_image(self.model_image)
        tag, digest = parse_tag(self.model_tag)
        if named.digest and "model_tag" not in self.model_fields_set:
            tag = ""
        return Image(named.repository, tag, digest or named.digest)


def load_settings(**overrides: object) -> Settings:
    """Read the settings; `overrides` that are not None win over the environment.

    Raises ConfigurationError that names each variable that is wrong.
    """
    try:
        return _read(env_file(), overrides)
    except ValidationError as error:
        problems = "; ".join(
            f"VLLM_{str(item['loc'][0]).upper()}: {item['msg'].removeprefix('Value error, ')}"
            for item in error.errors(include_input=False, include_url=False)
        )
        raise ConfigurationError(
            "a setting is wrong",
            why=problems,
            next_command="correct the variable in the environment or in .env, then run again",
        ) from None


def usable_settings(**overrides: object) -> Settings:
    """Read the settings as `load_settings` does, with the default in place of all that is wrong."""
    try:
        file = env_file()
    except ConfigurationError:
        file = {}
    try:
        return _read(file, overrides)
    except ValidationError as error:
        wrong = {str(item["loc"][0]) for item in error.errors(include_input=False)}
        return _read(file, overrides, wrong)


def _read(
    file: Mapping[str, str | None], overrides: Mapping[str, object], without: Collection[str] = ()
) -> Settings:
    """Return the settings; Vault's own variables do not count as set for this product.

    They may be there for others: a `VAULT_TOKEN` for the login program of the kubeconfig.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    own = {**settings_in(file), **settings_in(os.environ), **given}
    found = {**of_vault(file), **of_vault(os.environ), **own}
    settings = Settings.model_validate({key: found[key] for key in found.keys() - set(without)})
    settings.model_fields_set.intersection_update(own)
    return settings


def env_file() -> Mapping[str, str | None]:
    """Read `.env`, nothing when there is none. Raises ConfigurationError when it is unreadable."""
    from dotenv import dotenv_values

    try:
        if Path(ENV_FILE).is_dir():  # which dotenv takes for no file at all
            raise IsADirectoryError(EISDIR, os.strerror(EISDIR))
        return dotenv_values(ENV_FILE, encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else None
        raise ConfigurationError(
            f"{ENV_FILE} cannot be read", why=why or str(error), next_command=f"ls -ld {ENV_FILE}"
        ) from error


def settings_in(variables: Mapping[str, str | None]) -> dict[str, object]:
    """Return by the setting's name the texts of those variables that are settings."""
    names = {PREFIX + name.upper(): name for name in Settings.model_fields}
    return {
        names[key]: text for key, text in variables.items() if key in names and text is not None
    }


def of_vault(variables: Mapping[str, str | None]) -> dict[str, object]:
    """Return by the setting's name the texts of the variables of Vault's own command line."""
    return {name: text for key, name in OF_VAULT.items() if (text := variables.get(key))}
