"""The network between NameNodes: what a cut holds back, and that it says nothing."""

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.faults.proxy import Network

PATIENCE_S = 5.0
SILENCE_S = 0.2


class Echo:
    """Answers each line with itself."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._echo, args=(connection,), daemon=True).start()

    @staticmethod
    def _echo(connection: socket.socket) -> None:
        with connection:
            while data := connection.recv(1 << 16):
                connection.sendall(data)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def network() -> Iterator[Network]:
    echoes = {name: Echo() for name in ("a", "b")}
    with Network({name: echo.address for name, echo in echoes.items()}) as made:
        yield made
    for echo in echoes.values():
        echo.close()


def connect(network: Network) -> socket.socket:
    host, _, port = network.address("a", "b").rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
    connection.settimeout(PATIENCE_S)
    return connection


def is_silent(connection: socket.socket) -> bool:
    connection.settimeout(SILENCE_S)
    try:
        connection.recv(1)
    except TimeoutError:
        return True
    finally:
        connection.settimeout(PATIENCE_S)
    return False


def test_bytes_pass_both_ways(network: Network) -> None:
    with connect(network) as connection:
        connection.sendall(b"hello")
        assert connection.recv(100) == b"hello"


@pytest.mark.parametrize("direction", [("a", "b"), ("b", "a")])
def test_a_cut_in_either_direction_is_silent_and_what_waited_arrives_once_it_is_healed(
    network: Network, direction: tuple[str, str]
) -> None:
    with connect(network) as connection:
        connection.sendall(b"before")
        assert connection.recv(100) == b"before"
        network.cut([direction])
        connection.sendall(b"after")
        assert is_silent(connection)
        network.heal([direction])
        assert connection.recv(100) == b"after"


def test_a_connection_begun_during_a_cut_hears_nothing_until_it_is_healed(network: Network) -> None:
    network.cut(network.around("b"))
    with connect(network) as connection:
        connection.sendall(b"hello")
        assert is_silent(connection)
        network.heal(network.around("b"))
        assert connection.recv(100) == b"hello"


def test_what_is_delayed_arrives_later_and_in_order(network: Network) -> None:
    network.delay([("a", "b")], 2 * SILENCE_S)
    with connect(network) as connection:
        connection.sendall(b"one")
        assert is_silent(connection)
        connection.sendall(b"two")
        received = b""
        while len(received) < 6:
            received += connection.recv(100)
        assert received == b"onetwo"


def test_an_end_that_closes_is_noticed_at_the_other(network: Network) -> None:
    with connect(network) as connection:
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
