"""Servers on loopback to deliver to: SSH with SFTP and a host key of its own, and S3."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh

USER, PASSWORD = "courier", "correct horse"


def free_port() -> int:
    """A port on which nothing listens at the moment."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@dataclass
class SftpServer:
    """A running server: where it listens, the folder that it serves, the key that it shows, what it was asked."""

    port: int
    folder: Path
    host_key: str
    asked: list[str] = field(default_factory=list)
    breaks_at: str = ""

    def known_hosts(self, file: Path) -> Path:
        """Writes a file that knows the server's key."""
        file.write_text(f"[127.0.0.1]:{self.port} {self.host_key}")
        return file

    def files(self) -> dict[str, bytes]:
        """What lies in its folder, by path."""
        return {str(p.relative_to(self.folder)): p.read_bytes() for p in sorted(self.folder.rglob("*")) if p.is_file()}


@contextmanager
def an_sftp_server(folder: Path, *, client_key: str | None = None, renames_over: bool = True) -> Iterator[SftpServer]:
    """Serves a folder to one account, by password or by its key.

    Args:
        folder: what the account sees as its root.
        client_key: public key with which it may log in.
        renames_over: whether the server has the extension that renames over a file, as OpenSSH's does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    key = asyncssh.generate_private_key("ssh-ed25519")
    loop = asyncio.new_event_loop()
    running = SftpServer(0, folder, key.export_public_key().decode())

    class Login(asyncssh.SSHServer):
        def begin_auth(self, username: str) -> bool:
            return True

        def password_auth_supported(self) -> bool:
            return True

        def validate_password(self, username: str, password: str) -> bool:
            return (username, password) == (USER, PASSWORD)

        def public_key_auth_supported(self) -> bool:
            return client_key is not None

        def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
            given = key.export_public_key().decode().split()[:2]
            return client_key is not None and username == USER and given == client_key.split()[:2]

    class Files(asyncssh.SFTPServer):
        def __init__(self, channel: Any) -> None:
            super().__init__(channel, chroot=str(folder).encode())
            self._connection = channel.get_connection()

        def open(self, path: bytes, pflags: int, attrs: Any) -> Any:
            running.asked.append(f"{'write' if pflags & asyncssh.FXF_WRITE else 'read'} {path.decode()}")
            return super().open(path, pflags, attrs)

        def write(self, file_obj: Any, offset: int, data: bytes) -> int:
            if running.breaks_at == "write":
                super().write(file_obj, offset, data[: len(data) // 2])
                file_obj.flush()
                self._connection.abort()
            return int(super().write(file_obj, offset, data))

        def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
            if not renames_over:
                raise asyncssh.SFTPOpUnsupported("no such extension here")
            super().posix_rename(oldpath, newpath)

    async def listen() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1", 0, server_host_keys=[key], server_factory=Login, sftp_factory=Files, allow_scp=False
        )

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    acceptor = asyncio.run_coroutine_threadsafe(listen(), loop).result(20)
    running.port = acceptor.get_port()

    async def stop() -> None:
        acceptor.close()
        await acceptor.wait_closed()

    try:
        yield running
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()
