"""Who we are to Kubernetes: the kubeconfig, or the account of the pod we run in.

The `kubernetes` package reads both. Its way with exec plugins is replaced: it waits for them for
ever, lets them write on the terminal, and goes on as nobody when they fail.
"""

from __future__ import annotations

import atexit
import os
import tempfile
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client as kubernetes_client
from kubernetes import config as kubernetes_config
from kubernetes.config.kube_config import KubeConfigLoader, KubeConfigMerger

from vllm_flows.errors import ClusterError, ClusterUnavailableError, ConfigurationError
from vllm_flows.exec_plugin import Login, log_in
from vllm_flows.kubeconfig_secrets import collect_kubeconfig
from vllm_flows.redaction import collect

_ACCOUNT_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105 -- a path
_USUAL_PLACE = "~/.kube/config"
_UNUSABLE = (kubernetes_config.ConfigException, yaml.YAMLError, TypeError, OSError)
"""What the package raises for a kubeconfig that is not to be used."""
_EARLIER = timedelta(seconds=30)
"""A login is renewed so long before it expires, or a quarter of its life where that is less."""


class Configuration(kubernetes_client.Configuration):
    """The package's, which renews the login of a plugin before a request, and collects tokens.

    `renew` says whether it brought another login; `renewed` then drops the connections of the old.
    """

    renew: Callable[[], bool] | None = None
    renewed: Callable[[], None] | None = None

    def auth_settings(self) -> Any:  # noqa: ANN401 -- the package's own
        """Return what is sent with a request; the package asks for it before each."""
        if self.renew and self.renew() and self.renewed:
            self.renewed()
        found = super().auth_settings()
        collect(*str(self.api_key.get("BearerToken") or "").split()[1:])
        return found


def configured(context: str) -> tuple[Configuration, bool]:
    """Return how the cluster is reached, and whether we run in it; no request is made.

    Raises ConfigurationError when the kubeconfig is not to be used, and what `exec_plugin.log_in`
    does.
    """
    configuration = Configuration()
    inside = _in_cluster() and not context
    try:
        if inside:
            kubernetes_config.load_incluster_config(client_configuration=configuration)
        else:
            _load(configuration, context or None)
    except _UNUSABLE as error:
        raise _no_kubeconfig(error, inside=inside) from error
    return configuration, inside


def login_program(context: str) -> str:
    """Return the name of the program that logs in; "" without one, or without a kubeconfig."""
    try:
        return _loader(context or None).program
    except _UNUSABLE:
        return ""


def _load(configuration: Configuration, context: str | None) -> None:
    loader = _loader(context)
    loader.load_and_set(configuration)  # type: ignore[no-untyped-call]  # ships no types
    if loader.plugin:
        configuration.renew = loader.plugin.renew


def _loader(context: str | None) -> _Loader:
    files = KubeConfigMerger(os.environ.get("KUBECONFIG") or _USUAL_PLACE)
    if files.config is None:
        raise kubernetes_config.ConfigException("Invalid kube-config file. No configuration found.")
    for document in files.config_files.values():
        collect_kubeconfig(document)
    return _Loader(
        files.config,
        active_context=context,
        config_base_path=None,
        config_persister=files.save_changes,
        get_google_credentials=_no_google,
    )


def _no_google() -> None:
    raise kubernetes_config.ConfigException(
        "auth-provider gcp has expired; kubectl and helm know it no more: use an exec plugin"
    )


class _Loader(KubeConfigLoader):
    """Reads a kubeconfig; has a `plugin` when that is where the login comes from."""

    def __init__(self, config: Any, **given: Any) -> None:  # noqa: ANN401 -- the package's own
        super().__init__(config, **given)  # type: ignore[no-untyped-call]  # ships no types
        self.plugin: PluginLogin | None = None
        self._file = ""

    @property
    def program(self) -> str:
        """Return the name of the user's login program; "" without one."""
        user: Any = self._user
        entry = user["exec"].value if user and "exec" in user else None
        return Path(str(entry.get("command") or "")).name if isinstance(entry, dict) else ""

    def _load_from_exec_plugin(self) -> bool | None:
        """Log in, in the package's place: called when the user has neither token nor provider."""
        user: Any = self._user
        if "exec" not in user:
            return None
        cluster: Any = self._cluster
        entry = user["exec"].value
        folder = str(self._get_base_path(cluster.path))  # type: ignore[no-untyped-call]  # likewise
        self.plugin = PluginLogin(lambda: log_in(entry, folder, cluster.value), self._take)
        return True

    def _take(self, login: Login) -> None:
        """Have the package send it: it looks here before each request."""
        if login.token:
            self.token = f"Bearer {login.token}"
            return
        if not self._file:
            descriptor, self._file = tempfile.mkstemp(prefix="vllm-flows-")  # for nobody else
            os.close(descriptor)
            atexit.register(Path(self._file).unlink, missing_ok=True)
        Path(self._file).write_text(f"{login.certificate}\n{login.key}\n", encoding="utf-8")
        self.cert_file = self.key_file = self._file


class PluginLogin:
    """Asks a plugin, tells `take` what it answered, and knows when to ask again. For threads."""

    def __init__(
        self,
        ask: Callable[[], Login],
        take: Callable[[Login], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._ask, self._take, self._now = ask, take, now
        self._lock = threading.Lock()
        self._failed: tuple[datetime, ClusterError] | None = None
        """When it was last asked in vain, and why."""
        self._until = self._asked()

    def renew(self) -> bool:
        """Ask again when the login has run out, or soon will; return whether that was done.

        Raises ClusterUnavailableError when it fails: the next try may succeed. Who waited while
        another thread asked in vain is told the same, and asks not once more.
        """
        if not self._due():
            return False
        begin = self._now()
        with self._lock:
            if not self._due():  # another thread was quicker
                return False
            if self._failed is None or self._failed[0] <= begin:
                self._try()
            if self._failed is None:
                return True
            error = self._failed[1]
        raise ClusterUnavailableError(error.what, why=error.why, next_command=error.next_command)

    def _try(self) -> None:
        self._failed = None
        try:
            self._until = self._asked()
        except ClusterError as error:
            self._failed = (self._now(), error)

    def _due(self) -> bool:
        return self._until is not None and self._now() >= self._until

    def _asked(self) -> datetime | None:
        """Ask, and return when to do so again; None for never."""
        begin = self._now()
        login = self._ask()
        self._take(login)
        if login.expires is None:
            return None
        return login.expires - min(_EARLIER, max(login.expires - begin, timedelta()) / 4)


def _in_cluster() -> bool:
    """Say whether to use the account of the pod we run in: as helm does, without a kubeconfig."""
    there = os.environ.get("KUBECONFIG") or Path(_USUAL_PLACE).expanduser().exists()
    return not there and Path(_ACCOUNT_TOKEN).exists()


def _no_kubeconfig(error: Exception, *, inside: bool) -> ConfigurationError:
    """Say what is wrong, and where: the parser's later lines would quote the file's secrets."""
    file = "" if inside else f"{os.environ.get('KUBECONFIG') or _USUAL_PLACE}: "
    mark = getattr(error, "problem_mark", None)
    line = f" (line {mark.line + 1})" if mark else ""
    return ConfigurationError(
        "no usable kubeconfig",
        why=f"{file}{str(error).splitlines()[0]}{line}",
        next_command="kubectl config get-contexts   (or set KUBECONFIG, or --context)",
    )
