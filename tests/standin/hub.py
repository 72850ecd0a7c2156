"""The hub: one process per cluster, which owns the seekdb and all facts about the cluster.

It lives for as long as one stand-in is connected; then it kills the seekdb and ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
import traceback
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from standin import parameters, rpc, schema, tenancy, topology
from standin.backend import Backend, replace
from standin.cluster import Cluster, Server, split_address
from standin.errors import SqlError, initialized_twice, initializing, invalid, syntax, timeout
from standin.journal import Journal
from standin.knobs import KnobFile
from standin.membership import Clockwork, Freeze, die
from standin.paxos import tenants_without_leader
from standin.places import BOOTSTRAPPED, HUB_SOCKET, SEEKDB
from standin.rpc import Message
from standin.seekdb import Seekdb
from standin.statements import Command, parse
from standin.views import rows_of
from standin.written import Written

_TURN_SECONDS = 0.05
_ALL_HERE_SECONDS = 20.0


@dataclass(eq=False)
class Link:
    """A connected stand-in."""

    address: str
    config: dict[str, str]
    writer: asyncio.StreamWriter
    heard: float
    sessions: dict[int, str]


class Hub:
    """The cluster while its hub runs."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._seekdb = Seekdb(directory / SEEKDB)
        self._file = KnobFile(directory)
        self._links: list[Link] = []
        self._gone: dict[str, float] = {}
        self._backend: Backend
        self._cluster: Cluster | None = None
        self._kinds: parameters.Kinds = {}
        self._clockwork = Clockwork()
        self._written = Written()
        self._journal = Journal(directory)
        self._change = asyncio.Lock()
        self._arrival = asyncio.Condition()
        self._over = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._serving = False
        self._booting = False

    async def run(self, starter: int) -> None:
        """Serve until nobody is left; ``starter`` is the process that will be here first."""
        socket = self._directory / HUB_SOCKET
        socket.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._serve, HUB_SOCKET, limit=1 << 24)
        try:
            if (self._directory / BOOTSTRAPPED).exists():
                self._begin(self._restart())
            self._end_unused(starter)
            await self._over.wait()
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await self._seekdb.kill()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log("the hub ends: " + "".join(traceback.format_exception(error)))
            self._over.set()

    def _end_unused(self, starter: int) -> None:
        """End if the stand-in that started this hub dies before anybody is connected."""

        def died() -> None:
            loop.remove_reader(life)
            os.close(life)
            if not self._links:
                self._over.set()

        loop = asyncio.get_running_loop()
        try:
            life = os.pidfd_open(starter)
        except ProcessLookupError:
            self._over.set()
        else:
            loop.add_reader(life, died)

    async def _restart(self) -> None:
        self._backend = await self._seekdb.start(anew=False)
        document = (await self._backend.query(schema.DOCUMENT))[0][0]
        self._cluster = Cluster.from_json(document or "")
        self._clockwork.forget(self._cluster)
        await self._backend.query("DELETE FROM oceanbase.standin_session")
        await self._serve_sql()

    async def _serve_sql(self) -> None:
        kinds = await self._backend.query(parameters.KINDS)
        self._kinds = {str(name): (str(scope), str(level)) for name, scope, level in kinds}
        self._begin(self._turn_for_ever())
        self._begin(self._watch_seekdb())
        for link in self._links:
            await self._welcome(link)
        await self._update(store=True)
        self._serving = True
        _log("serving")
        self._tell_all()

    async def _watch_seekdb(self) -> None:
        await self._seekdb.ended()
        raise RuntimeError("seekdb has ended")

    async def _turn_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_TURN_SECONDS)
            await self._update()

    async def _update(self, *, store: bool = False) -> None:
        async with self._change:
            await self._settle(store=store)

    async def _settle(self, *, store: bool) -> None:
        """Let time have its effect, and store what has changed; the lock is held."""
        if self._cluster is None:
            return
        self._file.refresh()
        now, knobs = time.monotonic(), self._file.knobs
        heard = {one.address for one in self._links if now - one.heard <= knobs.lease_s}
        heard |= {one for one, at in self._gone.items() if now - at < knobs.notice_s}
        changed = self._clockwork.turn(self._cluster, heard, self._file.knobs)
        if changed or store:
            self._journal.note(self._cluster, [link.address for link in self._links])
            await self._written.write(self._backend, self._cluster)
            self._tell_all()

    def _tell_all(self) -> None:
        for link in self._links:
            rpc.send(link.writer, {"state": self._state_for(link)})

    def _state_for(self, link: Link) -> Message:
        cluster = self._cluster
        if cluster is None or not self._serving:
            return {"serving": False, "member": True, "blocked": []}
        lacking = tenants_without_leader(cluster)
        return {
            "serving": True,
            "member": any(server.address == link.address for server in cluster.servers),
            "blocked": [tenant.name for tenant in cluster.tenants if tenant.id in lacking],
            "tenants": [tenant.name for tenant in cluster.tenants if tenant.kind != "META"],
        }

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello = await rpc.receive(reader)
        if hello is None:
            return
        link = Link(hello["address"], hello["config"], writer, time.monotonic(), {})
        self._links.append(link)
        async with self._arrival:
            self._arrival.notify_all()
        try:
            await self._welcome(link)
            await self._update(store=True)
            rpc.send(writer, {"state": self._state_for(link)})
            while (message := await rpc.receive(reader)) is not None:
                link.heard = time.monotonic()
                if "ask" in message:
                    self._begin(self._answer(link, message))
                elif "session" in message:
                    link.sessions[message["session"]] = message["tenant"]
                elif "ended" in message:
                    link.sessions.pop(message["ended"], None)
        finally:
            self._links.remove(link)
            self._gone[link.address] = time.monotonic()
            writer.close()
            if not self._links:
                self._over.set()
        if not self._over.is_set():
            await self._update()

    async def _welcome(self, link: Link) -> None:
        if self._cluster is None or not self._kinds:
            return
        async with self._change:
            for server in self._cluster.servers:
                if server.address == link.address:
                    if server.alive and link.address in self._gone:
                        die(self._cluster, server)  # it has ended, though nobody had noticed
                    self._gone.pop(link.address, None)
                    parameters.from_config(self._cluster, self._kinds, server, link.config)

    async def _answer(self, link: Link, message: Message) -> None:
        number = message["ask"]
        try:
            await self._carry_out(link, message)
            answer: Message = {"answer": number}
        except SqlError as error:
            answer = {"answer": number, "errno": error.errno, "message": error.message}
        with contextlib.suppress(OSError):
            rpc.send(link.writer, answer)

    async def _carry_out(self, link: Link, message: Message) -> None:
        if message["do"] == "sessions":
            await self._show_sessions()
            return
        command = parse(message["text"])
        if command.verb == "bootstrap":
            await self._bootstrap(link, command)
            return
        if self._cluster is None or not self._serving:
            raise initializing()
        _log(message["text"])
        await self._execute(command, message)

    async def _execute(self, command: Command, message: Message) -> None:
        cluster, args = self._cluster, command.args
        assert cluster is not None
        if command.verb == "server" and args["action"] == "ADD":
            await self._add_servers(args["servers"], args["zone"])
        elif command.verb == "server":
            action, servers, zone = args["action"], args["servers"], args["zone"]
            await self._apply(lambda: topology.act_on_servers(cluster, action, servers, zone))
        elif command.verb == "zone":
            await self._apply(lambda: topology.act_on_zone(cluster, **_lower(args)))
        elif command.verb == "minor freeze":
            await self._minor_freeze(args)
        elif command.verb == "major freeze":
            await self._backend.query("ALTER SYSTEM MAJOR FREEZE")
        elif command.verb == "set":
            settings = args["settings"]
            await self._apply(lambda: parameters.set_all(cluster, self._kinds, settings))
        elif command.verb == "load module":
            if args["module"].lower() == "timezone":
                await self._backend.query(schema.LOAD_TIME_ZONES)
        elif command.verb not in ("check module", "clear merge error"):
            text, recyclebin = message["text"], message.get("recyclebin", False)
            await self._apply(
                lambda: tenancy.execute(cluster, command.verb, args, text, recyclebin)
            )

    async def _apply(self, work: Callable[[], None]) -> None:
        """Change the cluster; nothing has changed if that fails."""
        async with self._change:
            assert self._cluster is not None
            before = self._cluster.to_json()
            try:
                work()
                rows_of(self._cluster)
            except (ValueError, LookupError) as error:
                vars(self._cluster).update(vars(Cluster.from_json(before)))
                raise invalid(str(error)) from error
            except SqlError:
                vars(self._cluster).update(vars(Cluster.from_json(before)))
                raise
            await self._settle(store=True)

    async def _bootstrap(self, link: Link, command: Command) -> None:
        if self._cluster is not None or self._booting:
            raise initialized_twice()
        self._booting = True
        try:
            await self._boot(link, command)
        finally:
            self._booting = False

    async def _boot(self, link: Link, command: Command) -> None:
        members = command.args["members"]
        addresses = [member["server"] for member in members]
        if link.address not in addresses:
            raise SqlError(4002, "Incorrect arguments to bootstrap: the server asked is not in it")
        who = {one: await rpc.ask(one, {"do": "who"}) for one in addresses}
        if any(one["empty"] != "yes" for one in who.values()):
            raise initialized_twice()
        cluster = Cluster(link.config["cluster"], int(link.config["cluster_id"]))
        topology.bootstrap(cluster, members, who)
        try:
            self._backend = await self._seekdb.start(anew=True)
            _log("seekdb is up")
            await schema.make(self._backend)
            _log("the views are there")
            for one in addresses:
                await self._let_join(one, cluster)
            await self._all_here(addresses)
        except BaseException:
            await self._seekdb.kill()
            raise
        self._cluster = cluster
        await self._serve_sql()
        (self._directory / BOOTSTRAPPED).touch()

    async def _let_join(self, address: str, cluster: Cluster) -> None:
        place = {"standin_dir": str(self._directory), "rootservice_list": cluster.root_servers}
        await rpc.ask(address, {"do": "join", "config": place})

    async def _all_here(self, addresses: list[str]) -> None:
        try:
            async with asyncio.timeout(_ALL_HERE_SECONDS):
                async with self._arrival:
                    await self._arrival.wait_for(
                        lambda: {link.address for link in self._links} >= set(addresses)
                    )
        except TimeoutError as error:
            raise timeout(int(_ALL_HERE_SECONDS * 1_000_000)) from error

    async def _add_servers(self, addresses: list[str], zone: str | None) -> None:
        cluster = self._cluster
        assert cluster is not None
        for one in addresses:
            who = await rpc.ask(one, {"do": "who"})
            topology.check_new_server(cluster, one, who, zone)
            await self._let_join(one, cluster)

            def add(one: str = one, who: Message = who) -> None:
                topology.add_server(cluster, one, who | {"empty": "yes"}, zone)

            await self._apply(add)
        for link in self._links:
            await self._welcome(link)
        await self._update(store=True)

    async def _minor_freeze(self, args: dict[str, Any]) -> None:
        cluster = self._cluster
        assert cluster is not None
        chosen: list[Server] = list(cluster.servers)
        if args["servers"] is not None:
            chosen = [cluster.server(address) for address in args["servers"]]
        if args["zone"] is not None:
            chosen = [server for server in chosen if server.zone == args["zone"]]
        scn = (await self._backend.query("SELECT max_scn FROM oceanbase.`V$OB_LOG_STAT`"))[0][0]
        await self._backend.query("ALTER SYSTEM MINOR FREEZE")
        addresses = {server.address for server in chosen}
        self._clockwork.freezes.append(Freeze(time.monotonic(), int(scn or 0), addresses))

    async def _show_sessions(self) -> None:
        """Make the views of sessions say which server each session is on."""
        rows = []
        for link in self._links:
            ip, port = split_address(link.address)
            rows += [(number, ip, port, tenant) for number, tenant in link.sessions.items()]
        async with self._change:
            if self._cluster is None:
                raise syntax("sessions")
            await self._backend.query("BEGIN")
            await self._backend.query("DELETE FROM oceanbase.standin_session")
            if rows:
                await self._backend.query(replace("oceanbase.standin_session", rows))
            await self._backend.query("COMMIT")


def _log(text: str) -> None:
    now = datetime.now(UTC).strftime("%H:%M:%S.%f")
    print(f"{now} {text}", file=sys.stderr, flush=True)


def _lower(args: dict[str, Any]) -> dict[str, Any]:
    return {"name" if key == "zone" else key: value for key, value in args.items()}


def main() -> None:
    """Run the hub of the cluster in the directory given, in the background."""
    if os.fork():
        os._exit(0)
    os.setsid()
    directory = Path(sys.argv[1])
    os.chdir(directory)
    Path("/proc/self/comm").write_text("standin-hub")
    _log("the hub begins")
    asyncio.run(Hub(directory).run(int(sys.argv[2])))


if __name__ == "__main__":
    main()
