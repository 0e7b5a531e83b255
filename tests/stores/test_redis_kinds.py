"""The Redis store with every other kind of client and server, all of them real.

valkey-py, clusters, Sentinel, unix sockets and TLS, each blocking and in a loop. The
contract runs over each; the tests shorten the rows' lifetimes instead of waiting.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import uuid
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tiktok_oauth_middleware import RedisStore
from tiktok_oauth_middleware.errors import ConfigurationError, StoreError
from tiktok_oauth_middleware.stores import open_store
from tiktok_oauth_middleware.stores.swap_locks import lock_row
from tiktok_oauth_middleware.testing.blocking_store import in_a_loop
from tiktok_oauth_middleware.testing.store_contract import LONG
from tiktok_oauth_middleware.testing.stores import AsyncStoreContract, StoreContract

from ..conftest import Clock, World
from ..support.certificates import self_signed
from ..support.ports import free_port
from .redis_servers import HERE, ClientTwins, Library, Servers, servers_of_a_test, soon
from .twins import Twins

redis = pytest.importorskip("redis")

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tiktok_oauth_middleware import TikTokSettings
    from tiktok_oauth_middleware.testing import FakeTikTok

NODES = 3
SLOTS = 16_384
MASTER = "master-of-tests"


# --- servers -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def servers(_has_redis: None) -> Iterator[Servers]:
    with servers_of_a_test() as servers:
        yield servers


@pytest.fixture(scope="module")
def plain_port(servers: Servers) -> int:
    return servers.start()


@pytest.fixture
def nowhere() -> Iterator[int]:
    """Return a bound port without a listener."""
    with closing(socket.socket()) as taken:
        taken.bind((HERE, 0))
        yield taken.getsockname()[1]


# --- the libraries -----------------------------------------------------------------


@pytest.fixture(params=["redis", "valkey"])
def library(request: pytest.FixtureRequest) -> Library:
    return Library(request.param)


# --- the contract over clients and servers ------------------------------------------


class Aged:
    """Shortens the lifetimes of a test's rows on every server, instead of waiting."""

    lifetime = 60.0

    @pytest.fixture
    def nodes(self) -> list[Any]:
        """Return blocking clients of redis-py, one for each server with rows."""
        pytest.fail("override the fixture `nodes`")

    @pytest.fixture
    def tick(self, nodes: list[Any], key: str) -> Callable[[float], None]:
        def age(seconds: float) -> None:
            for node in nodes:
                for row in node.keys(f"{key}*"):
                    node.pexpire(row, node.pttl(row) - int(seconds * 1000))

        return age


class ByClient(Aged, StoreContract):
    @pytest.fixture
    def client(self) -> Any:
        """Return a blocking client."""
        pytest.fail("override the fixture `client`")

    @pytest.fixture
    def store(self, client: Any) -> RedisStore:
        return RedisStore(client)

    @pytest.fixture
    def keys(self, store: Any) -> Callable[[str], list[str]]:
        found: Callable[[str], list[str]] = store.keys
        return found


class ByLoopClient(Aged, AsyncStoreContract):
    @pytest.fixture
    def keys(self, store: Any) -> Callable[[str], list[str]]:
        return lambda prefix: store.run(store.inner.keys(prefix))


# --- valkey-py ---------------------------------------------------------------------


class OnPlain(Aged):
    @pytest.fixture
    def nodes(self, plain_port: int) -> Iterator[list[Any]]:
        with redis.Redis(port=plain_port) as node:
            yield [node]


class TestValkey(OnPlain, ByClient):
    @pytest.fixture
    def client(self, plain_port: int) -> Iterator[Any]:
        with Library("valkey").blocking.Valkey(port=plain_port) as client:
            yield client

    @pytest.fixture
    def failing_store(self, nowhere: int) -> RedisStore:
        valkey = Library("valkey")
        return RedisStore(valkey.blocking.Valkey(port=nowhere, **valkey.once()))

    def test_decoding_is_refused(self, plain_port: int) -> None:
        """A client of valkey-py that would decode values is refused."""
        valkey = Library("valkey").blocking
        with (
            valkey.Valkey(port=plain_port, decode_responses=True) as client,
            pytest.raises(ConfigurationError, match="decode_responses"),
        ):
            RedisStore(client)


class TestValkeyInALoop(OnPlain, ByLoopClient):
    @pytest.fixture
    def open_store(self, plain_port: int) -> Callable[[], ClientTwins]:
        valkey = Library("valkey").loop
        return lambda: ClientTwins(valkey.Valkey(port=plain_port))

    @pytest.fixture
    def open_failing_store(self, nowhere: int) -> Callable[[], ClientTwins]:
        valkey = Library("valkey")
        options = valkey.once(in_a_loop=True)
        return lambda: ClientTwins(valkey.loop.Valkey(port=nowhere, **options))


# --- clusters ----------------------------------------------------------------------


class Cluster:
    """The nodes of a cluster, each with a blocking client."""

    def __init__(self, servers: Servers, size: int, slots: int = SLOTS) -> None:
        self.servers = servers
        self.ports = [self._node() for _ in range(size)]
        self.nodes = [redis.Redis(port=port) for port in self.ports]
        share = -(-slots // size)
        for number, node in enumerate(self.nodes):
            last = min(slots, share * (number + 1)) - 1
            node.execute_command("CLUSTER ADDSLOTSRANGE", share * number, last)
            node.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
        self.ids = [node.execute_command("CLUSTER MYID") for node in self.nodes]

    def _node(self) -> int:
        port, bus = free_port(), free_port()
        options = ["--cluster-enabled", "yes", "--cluster-port", bus]
        options += ["--cluster-config-file", f"nodes-{port}.conf"]
        options += ["--cluster-announce-ip", HERE, "--cluster-node-timeout", 60_000]
        self.servers.run(port, "--port", port, *options)
        self._buses = {**getattr(self, "_buses", {}), port: bus}
        return port

    def meet(self) -> None:
        for port in self.ports[1:]:
            where = (HERE, port, self._buses[port])
            self.nodes[0].execute_command("CLUSTER MEET", *where)
        soon(lambda: all(self._knows_all(node) for node in self.nodes))

    def _knows_all(self, node: Any) -> bool:
        known: list[Any] = node.execute_command("CLUSTER SLOTS")
        state = node.execute_command("CLUSTER INFO")["cluster_state"]
        return len(known) == len(self.nodes) and state == "ok"

    def slot(self, key: str) -> int:
        slot: int = self.nodes[0].execute_command("CLUSTER KEYSLOT", key)
        return slot

    def owner(self, slot: int) -> int:
        """Return the number of the node that has a slot."""
        for first, last, (_, port, *_), *_ in self.nodes[0].execute_command(
            "CLUSTER SLOTS"
        ):
            if first <= slot <= last:
                return self.ports.index(port)
        pytest.fail("no node has the slot")

    @contextmanager
    def silent(self, number: int) -> Iterator[None]:
        """A context manager in which a node is up, but does not answer."""
        process = self.servers.by_port[self.ports[number]]
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    def rows_in(self, slot: int) -> set[str]:
        """Return the keys in a slot, including those of other tests."""
        node = self.nodes[self.owner(slot)]
        return set(node.execute_command("CLUSTER GETKEYSINSLOT", slot, 100))

    def close(self) -> None:
        for node in self.nodes:
            node.close()


@pytest.fixture(scope="module")
def cluster(servers: Servers) -> Iterator[Cluster]:
    """Return a cluster of three nodes."""
    cluster = Cluster(servers, NODES)
    cluster.meet()
    yield cluster
    cluster.close()


@pytest.fixture(scope="module")
def broken_cluster(servers: Servers) -> Iterator[Cluster]:
    """Return a node that serves one slot of a cluster, and lists no other nodes."""
    cluster = Cluster(servers, 1, slots=1)
    yield cluster
    cluster.close()


class OnCluster(Aged):
    @pytest.fixture
    def nodes(self, cluster: Cluster) -> list[Any]:
        return cluster.nodes

    @pytest.fixture
    def patience(self) -> float:
        """Return for how many seconds a client waits for a node."""
        return 5.0

    def test_a_row_and_its_lock_share_a_slot(
        self, store: Any, key: str, cluster: Cluster
    ) -> None:
        """A user's row and its lock are in the slot that the tag in the key names."""
        slot = cluster.slot(key)
        with store.lock(key, LONG) as held:
            assert held is True
            assert store.compare_and_set(key, None, b"value", LONG) is True
            assert cluster.slot(lock_row(key)) == slot
            assert {key, lock_row(key)} <= cluster.rows_in(slot)
        assert {key, lock_row(key)} & cluster.rows_in(slot) == {key}

    def test_keys_are_those_of_all_nodes(
        self,
        keys: Callable[[str], list[str]],
        store: Any,
        key: str,
        cluster: Cluster,
    ) -> None:
        """All pages of keys are listed from every node."""
        prefix = f"{key[:-1]}:".replace("{", "")
        rows = sorted(f"{prefix}{{{number}}}" for number in range(60))
        for row in rows:
            store.compare_and_set(row, None, b"value", LONG)
        assert keys(prefix) == rows
        assert {cluster.owner(cluster.slot(row)) for row in rows} == {0, 1, 2}
        for port, node in zip(cluster.ports, cluster.nodes, strict=True):
            with node.pipeline(transaction=False) as pipeline:
                paged = f"paged:{prefix}{{{tag_of(cluster, port)}}}"
                for number in range(1500):
                    pipeline.set(f"{paged}{number}", b"value")
                pipeline.execute()
        assert len(keys(f"paged:{prefix}")) == NODES * 1500
        for node in cluster.nodes:
            node.unlink(*node.keys(f"paged:{prefix}*"))

    def test_a_row_is_found_while_its_slot_moves(
        self, store: Any, key: str, cluster: Cluster
    ) -> None:
        """A row is read and swapped while its slot moves, and after the move."""
        slot = cluster.slot(key)
        old = cluster.owner(slot)
        new = (old + 1) % NODES
        store.compare_and_set(key, None, b"first", LONG)
        set_slot = partial(cluster.nodes[new].execute_command, "CLUSTER SETSLOT", slot)
        set_slot("IMPORTING", cluster.ids[old])
        source = cluster.nodes[old]
        source.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", cluster.ids[new])
        source.execute_command("MIGRATE", HERE, cluster.ports[new], key, 0, 5000)
        cluster.nodes[new].script_flush()
        assert store.get(key) == b"first"
        assert store.compare_and_set(key, b"first", b"second", LONG) is True
        set_slot("NODE", cluster.ids[new])
        for node in cluster.nodes:
            node.execute_command("CLUSTER SETSLOT", slot, "NODE", cluster.ids[new])
        assert cluster.owner(slot) == new
        assert store.get(key) == b"second"
        assert store.compare_and_set(key, b"first", b"third", LONG) is False
        assert store.compare_and_set(key, b"second", b"third", LONG) is True

    @pytest.mark.parametrize("patience", [0.5])
    def test_a_silent_node_is_an_error(
        self, store: Any, key: str, cluster: Cluster
    ) -> None:
        """Reading a row of a silent node is an error until the node answers again."""
        store.compare_and_set(key, None, b"value", LONG)
        with cluster.silent(cluster.owner(cluster.slot(key))):
            with pytest.raises(StoreError):
                store.get(key)
            with pytest.raises(StoreError):
                store.compare_and_set(key, b"value", b"new", LONG)
        soon(lambda: store.get(key) in {b"value", b"new"})

    # valkey-py may still ask the silent node for the other nodes' addresses.
    @pytest.mark.parametrize("library", ["redis"], indirect=True)
    @pytest.mark.parametrize("patience", [0.5])
    def test_a_silent_node_fails_its_rows_alone(
        self, store: Any, key: str, cluster: Cluster
    ) -> None:
        """Rows of other nodes are read while one is silent."""
        mine = cluster.owner(cluster.slot(key))
        others = next(
            each
            for each in (f"{key[:-1]}{number}}}" for number in range(100))
            if cluster.owner(cluster.slot(each)) != mine
        )
        store.compare_and_set(others, None, b"others", LONG)
        with cluster.silent(mine):
            with pytest.raises(StoreError):
                store.get(key)
            soon(lambda: store.get(others) == b"others")


def tag_of(cluster: Cluster, port: int) -> str:
    """Return a tag whose slot is on a node."""
    return next(
        tag
        for tag in map(str, range(1000))
        if cluster.ports[cluster.owner(cluster.slot(tag))] == port
    )


class TestCluster(OnCluster, ByClient):
    @pytest.fixture
    def client(
        self, library: Library, cluster: Cluster, patience: float
    ) -> Iterator[Any]:
        options = {**library.once(), "socket_timeout": patience}
        client = library.blocking.RedisCluster(HERE, cluster.ports[0], **options)
        with client:
            yield client

    @pytest.fixture
    def failing_store(
        self, library: Library, broken_cluster: Cluster
    ) -> Iterator[RedisStore]:
        options = {**library.once(), "require_full_coverage": False}
        made = library.blocking.RedisCluster
        with made(HERE, broken_cluster.ports[0], **options) as client:
            yield RedisStore(client)


class TestClusterInALoop(OnCluster, ByLoopClient):
    @pytest.fixture
    def open_store(
        self, library: Library, cluster: Cluster, patience: float
    ) -> Callable[[], ClientTwins]:
        options = {**library.once(in_a_loop=True), "socket_timeout": patience}
        made = library.loop.RedisCluster
        return lambda: ClientTwins(made(HERE, cluster.ports[0], **options))

    def test_the_first_use_is_by_many_tasks(
        self, open_store: Callable[[], ClientTwins], key: str, cluster: Cluster
    ) -> None:
        """Many tasks that are the first to use a client, at once, see no error."""

        async def use() -> list[bool]:
            twins = open_store()
            swaps = (twins.compare_and_set(key, None, b"used", LONG) for _ in range(8))
            try:
                return list(await asyncio.gather(*swaps))
            finally:
                await twins.close()

        for node in cluster.nodes:
            node.script_flush()
        assert sorted(asyncio.run(use())) == [False] * 7 + [True]

    @pytest.fixture
    def open_failing_store(
        self, library: Library, nowhere: int
    ) -> Callable[[], ClientTwins]:
        options = library.once(in_a_loop=True)
        return lambda: ClientTwins(library.loop.RedisCluster(HERE, nowhere, **options))


def test_a_login_lives_in_one_slot(
    cluster: Cluster,
    library: Library,
    settings: TikTokSettings,
    tiktok: FakeTikTok,
    clock: Clock,
) -> None:
    """A login over a cluster works: a record and its lock are in one slot."""
    for node in cluster.nodes:
        node.flushdb()
    with (
        library.blocking.RedisCluster(HERE, cluster.ports[0]) as client,
        ExitStack() as stack,
    ):
        store = RedisStore(client)
        world = World("wsgi", settings, tiktok, store, clock, [], stack).start()
        browser = world.browser()
        browser.log_in()
        assert browser.signed_in
        (row_key,) = (row for row in store.keys("tiktok:") if ":grant:" in row)
        slot = cluster.slot(row_key)
        assert cluster.slot(lock_row(row_key)) == slot
        assert cluster.rows_in(slot) == {row_key}


# --- Sentinel ----------------------------------------------------------------------


class Watched:
    """A master and its replica, and the Sentinel that watches them."""

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        self.master = servers.start("--repl-diskless-sync-delay", 0)
        self.replica = servers.start("--replicaof", HERE, self.master)
        with redis.Redis(port=self.replica) as replica:
            soon(lambda: replica.info("replication")["master_link_status"] == "up")
        config = servers.directory / f"sentinel-{self.master}.conf"
        config.write_text(
            f"sentinel monitor {MASTER} {HERE} {self.master} 1\n"
            f"sentinel down-after-milliseconds {MASTER} 1000\n"
            f"sentinel failover-timeout {MASTER} 5000\n"
        )
        self.sentinel = servers.start("--sentinel", config=config)
        with redis.Redis(port=self.sentinel) as sentinel:
            ask = partial(sentinel.sentinel_slaves, MASTER)
            soon(lambda: self.replica in [each["port"] for each in ask()])
            # Sentinel makes a replica of the old master after several such periods.
            for period in ("PUBLISH-PERIOD", "INFO-PERIOD"):
                sentinel.execute_command("SENTINEL DEBUG", period, 200)

    def client(self, library: Library) -> Any:
        return master_for(library, self.sentinel)

    def twins(self, library: Library) -> ClientTwins:
        return master_twins(library, self.sentinel)


def master_for(library: Library, port: int) -> Any:
    """Return a client from a Sentinel on a port."""
    once = library.once()
    found = library.sentinel.Sentinel([(HERE, port)], sentinel_kwargs=once, **once)
    return found.master_for(MASTER)


def master_twins(library: Library, port: int) -> ClientTwins:
    """Return the asyncio methods of a store over a client from a Sentinel."""
    once = library.once(in_a_loop=True)
    made = library.loop_sentinel.Sentinel
    found = made([(HERE, port)], sentinel_kwargs=once, **once)
    return ClientTwins(found.master_for(MASTER), *found.sentinels)


@pytest.fixture(scope="module")
def watched(servers: Servers) -> Watched:
    return Watched(servers)


class OnWatched(Aged):
    @pytest.fixture
    def nodes(self, watched: Watched) -> Iterator[list[Any]]:
        with redis.Redis(port=watched.master) as master:
            yield [master]


class TestSentinel(OnWatched, ByClient):
    @pytest.fixture
    def client(self, library: Library, watched: Watched) -> Iterator[Any]:
        with watched.client(library) as client:
            yield client

    @pytest.fixture
    def failing_store(self, library: Library, nowhere: int) -> RedisStore:
        return RedisStore(master_for(library, nowhere))


class TestSentinelInALoop(OnWatched, ByLoopClient):
    @pytest.fixture
    def open_store(
        self, library: Library, watched: Watched
    ) -> Callable[[], ClientTwins]:
        return lambda: watched.twins(library)

    @pytest.fixture
    def open_failing_store(
        self, library: Library, nowhere: int
    ) -> Callable[[], ClientTwins]:
        return lambda: master_twins(library, nowhere)


@pytest.fixture
def watched_alone(_has_redis: None) -> Iterator[Watched]:
    """Return a master, a replica and a Sentinel that only this test uses."""
    with servers_of_a_test() as servers:
        yield Watched(servers)


@pytest.fixture
def followers(watched_alone: Watched) -> Iterator[dict[str, Any]]:
    """Return stores over clients of both libraries, blocking and asyncio."""
    with ExitStack() as stack:
        stores: dict[str, Any] = {}
        for name in ("redis", "valkey"):
            library = Library(name)
            client = stack.enter_context(watched_alone.client(library))
            stores[name] = RedisStore(client)
            twins = partial(watched_alone.twins, library)
            stores[f"{name} in a loop"] = stack.enter_context(in_a_loop(twins))
        for name, store in stores.items():
            assert store.compare_and_set(name, None, b"kept", LONG) is True
        with redis.Redis(port=watched_alone.master) as master:
            assert master.wait(1, 5000) == 1
        yield stores


def follow(followers: dict[str, Any], port: int) -> None:
    """Use the stores until all write to a given server; no store may miss its row."""

    def arrived(name: str, store: Any) -> bool:
        trace = uuid.uuid4().hex
        # Earlier writes reach that server, too, through the old master.
        has_turned = new.info("replication")["role"] == "master"
        try:
            assert store.get(name) == b"kept"
            store.compare_and_set(trace, None, b"", LONG)
        except StoreError:
            return False
        return has_turned and bool(new.exists(trace))

    with redis.Redis(port=port) as new:
        for name, store in followers.items():
            soon(partial(arrived, name, store), 30)
    for name, store in followers.items():
        assert store.compare_and_set(name, b"kept", b"new", LONG) is True
        assert store.get(name) == b"new"
        with store.lock(name, LONG) as held:
            assert held is True


def test_a_failover_is_followed(
    watched_alone: Watched, followers: dict[str, Any]
) -> None:
    """Clients from Sentinel follow a failover; at worst they see StoreErrors."""
    with redis.Redis(port=watched_alone.sentinel) as sentinel:
        soon(lambda: sentinel.execute_command("SENTINEL FAILOVER", MASTER))
    follow(followers, watched_alone.replica)


def test_the_death_of_a_master_is_followed(
    watched_alone: Watched, followers: dict[str, Any]
) -> None:
    """Clients from Sentinel find the new master when the old one is killed."""
    watched_alone.servers.by_port[watched_alone.master].kill()
    follow(followers, watched_alone.replica)


# --- a unix socket -----------------------------------------------------------------


class UrlTwins(Twins):
    def __init__(self, url: str) -> None:
        super().__init__(RedisStore(url))


class ByUrl(Aged, StoreContract):
    @pytest.fixture
    def store(self, url: str) -> Iterator[Any]:
        store = open_store(url)
        yield store
        store.close()

    @pytest.fixture
    def failing_store(self, dead_url: str) -> Any:
        return open_store(dead_url)


class ByUrlInALoop(Aged, AsyncStoreContract):
    @pytest.fixture
    def open_store(self, url: str) -> Callable[[], UrlTwins]:
        return lambda: UrlTwins(url)

    @pytest.fixture
    def open_failing_store(self, dead_url: str) -> Callable[[], UrlTwins]:
        return lambda: UrlTwins(dead_url)


@pytest.fixture(scope="module")
def unix_url(servers: Servers) -> str:
    """Return the URL of the second database of a server behind a socket."""
    path = servers.directory / "redis.sock"
    servers.start("--unixsocket", path)
    return f"unix://{path}?db=1"


class OnUnixSocket(Aged):
    @pytest.fixture
    def nodes(self, unix_url: str) -> Iterator[list[Any]]:
        with redis.Redis.from_url(unix_url) as node:
            yield [node]

    @pytest.fixture
    def url(self, unix_url: str) -> str:
        return unix_url

    @pytest.fixture
    def dead_url(self, servers: Servers) -> str:
        return f"unix://{servers.directory / 'no.sock'}"


class TestUnixSocket(OnUnixSocket, ByUrl):
    def test_repr_names_the_socket(self, url: str) -> None:
        """The repr of a store behind a socket shows the path."""
        path = url.removeprefix("unix://").removesuffix("?db=1")
        assert repr(RedisStore(url)) == f"RedisStore('unix://{path}')"


class TestUnixSocketInALoop(OnUnixSocket, ByUrlInALoop):
    pass


# --- TLS ---------------------------------------------------------------------------


class Certificate:
    """A self-signed certificate for a name or an address, and its key, as files."""

    def __init__(self, directory: Path, name: str) -> None:
        made, key = self_signed(name)
        self.path = directory / f"{name}.crt"
        self.path.write_bytes(made)
        self.key_path = directory / f"{name}.key"
        self.key_path.write_bytes(key)


def tls_server(servers: Servers, certificate: Certificate) -> str:
    """Start a server that accepts only TLS; return its URL."""
    port = free_port()
    options = ["--tls-cert-file", certificate.path, "--tls-auth-clients", "no"]
    options += ["--tls-key-file", certificate.key_path]
    servers.run(port, "--port", 0, "--tls-port", port, *options)
    return f"rediss://{HERE}:{port}/0"


@pytest.fixture(scope="module")
def certificate(servers: Servers) -> Certificate:
    return Certificate(servers.directory, HERE)


@pytest.fixture(scope="module")
def tls_url(servers: Servers, certificate: Certificate) -> str:
    return tls_server(servers, certificate)


@pytest.fixture(scope="module")
def trusting_url(tls_url: str, certificate: Certificate) -> str:
    """Return a URL that names the trusted certificate."""
    # Longer than usual: many handshakes at once take long on a busy machine.
    patience = "socket_timeout=15&socket_connect_timeout=15"
    return f"{tls_url}?ssl_ca_certs={certificate.path}&{patience}"


@pytest.fixture(scope="module")
def misnamed_url(servers: Servers) -> str:
    """Return the URL of a server with a trusted certificate for another name."""
    other = Certificate(servers.directory, "other.example")
    return f"{tls_server(servers, other)}?ssl_ca_certs={other.path}"


class OnTls(Aged):
    @pytest.fixture
    def nodes(self, trusting_url: str) -> Iterator[list[Any]]:
        with redis.Redis.from_url(trusting_url) as node:
            yield [node]

    @pytest.fixture
    def url(self, trusting_url: str) -> str:
        return trusting_url

    @pytest.fixture
    def dead_url(self, nowhere: int) -> str:
        return f"rediss://{HERE}:{nowhere}/0"


class TestTls(OnTls, ByUrl):
    pass


class TestTlsInALoop(OnTls, ByUrlInALoop):
    pass


@pytest.fixture(params=["blocking", "in a loop"])
def opened(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Any]]:
    """Return a function that opens a store from a URL; its methods are called by their
    plain names.
    """
    with ExitStack() as stack:

        def open_in_a_loop(url: str) -> Any:
            return stack.enter_context(in_a_loop(lambda: UrlTwins(url)))

        yield open_store if request.param == "blocking" else open_in_a_loop


@pytest.mark.parametrize("fault", ["unknown", "misnamed"])
def test_a_wrong_certificate_is_an_error(
    opened: Callable[[str], Any], request: pytest.FixtureRequest, fault: str
) -> None:
    """An untrusted certificate, or one for another name, is a StoreError."""
    name = {"unknown": "tls_url", "misnamed": "misnamed_url"}[fault]
    store = opened(request.getfixturevalue(name))
    with pytest.raises(StoreError, match="certificate is not trusted") as failure:
        store.get("row")
    assert "CERTIFICATE_VERIFY_FAILED" in str(failure.value.__cause__)
    store.close()


def test_plain_text_to_tls_is_an_error(
    opened: Callable[[str], Any], tls_url: str
) -> None:
    """A store that sends plain text to a TLS server raises a StoreError."""
    store = opened(tls_url.replace("rediss://", "redis://"))
    with pytest.raises(StoreError, match="TLS"):
        store.get("row")
    store.close()


class LosesItsConnection(redis.asyncio.Connection):
    """A connection that ends during a write, with asyncio's error, which has no
    errno.
    """

    async def send_packed_command(self, *_arguments: Any, **_options: Any) -> None:
        try:
            raise ConnectionResetError("Connection lost")
        except ConnectionResetError as error:
            message = f"Error UNKNOWN while writing to socket. {error}."
            raise redis.ConnectionError(message) from error


def test_a_connection_lost_in_a_loop_has_its_meaning(tls_url: str) -> None:
    """The error of a lost connection has an explanation, even if asyncio reports no
    errno.
    """
    pool = redis.asyncio.ConnectionPool.from_url(
        tls_url.replace("rediss://", "redis://"), connection_class=LosesItsConnection
    )
    store = RedisStore(redis.asyncio.Redis(connection_pool=pool))
    with pytest.raises(StoreError, match=r"closed the connection; it may speak TLS"):
        asyncio.run(store.aget("row"))
