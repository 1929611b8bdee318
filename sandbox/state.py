"""Where a sandbox keeps everything it has, and the little it must remember about itself.

Everything lies below one directory per sandbox, `$XDG_STATE_HOME/vllm-flows/sandbox/<name>`
(`~/.local/state` when the variable is unset), so that taking a sandbox down is: end its
processes, remove that directory.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from sandbox.errors import SandboxError

DEFAULT_NAME = "default"
CLUSTER = "sandbox"
"""The cluster's name for kwokctl, in its own directory of each sandbox."""
REPOSITORY = Path(__file__).resolve().parent.parent
CHART = REPOSITORY / "sandbox" / "chart"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?")


@dataclass(frozen=True)
class Ports:
    """The TCP ports on 127.0.0.1 that one sandbox uses."""

    apiserver: int
    controller_manager: int
    scheduler: int
    etcd: int
    etcd_peer: int
    kwok: int
    hub: int
    prefect: int
    vault: int


@dataclass(frozen=True)
class SandboxState:
    """One sandbox: its name, its ports, its made-up Hub token, and its places on disk.

    `programs` maps the name of each program (`helm`, `kube-apiserver`, …) to its path.
    """

    directory: Path
    identifier: str
    ports: Ports
    hub_token: str
    programs: dict[str, str]

    @property
    def name(self) -> str:
        """The sandbox's name, which is its directory's."""
        return self.directory.name

    @property
    def file(self) -> Path:
        """The file that holds this state."""
        return self.directory / "sandbox.json"

    @property
    def kubeconfig(self) -> Path:
        """Credentials of an administrator of the sandbox's cluster."""
        return self.directory / "kubeconfig"

    @property
    def kwok(self) -> Path:
        """The directory kwokctl works in: etcd's data, certificates, component logs."""
        return self.directory / "kwok"

    @property
    def audit_policy(self) -> Path:
        """Which requests the API server writes down."""
        return self.directory / "audit-policy.yaml"

    @property
    def audit_log(self) -> Path:
        """What service accounts asked of the API server, a JSON object a line."""
        return self.kwok / "clusters" / CLUSTER / "logs" / "audit.log"

    @property
    def logs(self) -> Path:
        """One log file per process the sandbox started itself."""
        return self.directory / "logs"

    @property
    def processes(self) -> Path:
        """One file per process the sandbox started itself; its content is the process id."""
        return self.directory / "processes"

    @property
    def hub(self) -> Path:
        """The repositories of the simulated Hub."""
        return self.directory / "hub"

    @property
    def vault(self) -> Path:
        """What the sandbox's Vault keeps, when it has one, and the keys to it."""
        return self.directory / "vault"

    @property
    def tools(self) -> Path:
        """Links to the sandbox's programs, to put in front of PATH."""
        return self.directory / "tools"

    @property
    def agent_ready(self) -> Path:
        """The file the node agent writes as soon as it watches the cluster."""
        return self.directory / "agent.ready"

    @property
    def api_url(self) -> str:
        """The Kubernetes API's address."""
        return f"https://127.0.0.1:{self.ports.apiserver}"

    @property
    def prefect_url(self) -> str:
        """Where a Prefect server of this sandbox listens, when one was started."""
        return f"http://127.0.0.1:{self.ports.prefect}"

    @property
    def hub_url(self) -> str:
        """The simulated Hub's address."""
        return f"http://127.0.0.1:{self.ports.hub}"

    @property
    def vault_url(self) -> str:
        """Where the sandbox's Vault listens, when it has one."""
        return f"http://127.0.0.1:{self.ports.vault}"

    def make_directories(self) -> None:
        """Create the sandbox's directories, readable by their owner only."""
        for name in ("", "kwok", "volumes", "pods", "logs", "bin", "hub", "processes", "tools"):
            (self.directory / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, path in self.programs.items():
            link = self.tools / name
            link.unlink(missing_ok=True)
            link.symlink_to(path)

    def save(self) -> None:
        """Write the state file in one step, so that no reader sees half of it."""
        content = asdict(self) | {
            "name": self.name,
            "directory": str(self.directory),
            "kubeconfig": str(self.kubeconfig),
            "api_url": self.api_url,
            "hub_url": self.hub_url,
        }
        partial = self.file.with_suffix(f".{os.getpid()}.partial")
        partial.touch(mode=0o600)
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        partial.replace(self.file)


def root() -> Path:
    """Return the directory that holds all sandboxes of this user."""
    home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(home).absolute() / "vllm-flows" / "sandbox"


def directory_of(name: str) -> Path:
    """Return the directory of the sandbox called `name`, whether it exists or not.

    Raises SandboxError when `name` cannot be a sandbox's name.
    """
    if not _NAME.fullmatch(name):
        raise SandboxError(
            f"{name!r} is no name for a sandbox",
            why="a name has 1 to 32 lower-case letters, digits and inner '-'",
            next_command="python -m sandbox up --name try",
        )
    return root() / name


def names() -> list[str]:
    """Return the names of all sandboxes that have a directory, sorted."""
    if not root().is_dir():
        return []
    return sorted(
        entry.name for entry in root().iterdir() if entry.is_dir() and _NAME.fullmatch(entry.name)
    )


def load(name: str) -> SandboxState | None:
    """Read a sandbox's state; None when it has none that can be read."""
    return load_directory(directory_of(name))


def load_directory(directory: Path) -> SandboxState | None:
    """Read the state kept in `directory`; None when there is none that can be read."""
    try:
        content = json.loads((directory / "sandbox.json").read_text(encoding="utf-8"))
        return SandboxState(
            directory=directory,
            identifier=content["identifier"],
            ports=Ports(**content["ports"]),
            hub_token=content["hub_token"],
            programs=dict(content["programs"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
