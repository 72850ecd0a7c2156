"""Agents come together before there is a cluster: one leads (MASTER), others follow."""

from __future__ import annotations

from pydantic import BaseModel

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.cluster.model import ClusterView, Identity, Member
from pyobshell.cluster.procedures import Caller, Nothing, procedure
from pyobshell.deadline import Deadline
from pyobshell.operations.names import require_plain
from pyobshell.operations.site import Run, Site
from pyobshell.requests import JoinRequest
from pyobshell.security.keys import PublicKey
from pyobshell.security.proof import is_proved, prove
from pyobshell.settings import API_VERSION, architecture
from pyobshell.tasks.model import Ability, Dag, DagPlan, Maintenance, MaintenanceType, NodePlan
from pyobshell.tasks.stage import stage
from pyobshell.wire import API_PREFIX

LOCKED = Maintenance(MaintenanceType.GLOBAL)
DEFAULT_MYSQL_PORT = 2881
_JOIN = Ability.CONTINUE | Ability.RETRY | Ability.ROLLBACK


class Joining(BaseModel):
    """Parameters of a join: whom, as what, and the master's password as sealed by the vault.

    ``master_key`` is what the master was met with: it is no other from then on.
    """

    master: Address
    zone: str
    sealed_password: str = ""
    master_key: str = ""


async def join(site: Site, request: JoinRequest) -> Dag:
    """Begin to lead (own address), or to follow the agent named.

    Raises ``Agent.Identify.NotSupportOperation``, ``OB.Zone.Name.Empty``, the errors of an address
    and of versions, ``Common.IllegalArgument`` if a server has been here before, or
    ``Common.Unexpected`` when the agent named cannot be reached.
    """
    view = site.cluster.view
    view.require(Identity.SINGLE)
    if not request.zoneName.strip():
        raise errors.ZONE_NAME_EMPTY()
    require_plain("zoneName", request.zoneName)
    master = Address.of(request.agentInfo.ip, request.agentInfo.port)
    require_empty_home(site)
    joining = Joining(master=master, zone=request.zoneName)
    if master == site.own:
        return await site.submit(DagPlan("Join self", [NodePlan(join_self)], joining, LOCKED))
    await _check_master(site, master)
    joining.master_key = (await site.peers.public_key(master)).text
    joining.sealed_password = site.vault.seal(request.masterPassword)
    nodes = [NodePlan(join_to_master), NodePlan(be_follower)]
    return await site.submit(DagPlan("Join to master", nodes, joining, LOCKED))


def require_empty_home(site: Site) -> None:
    """Raise ``Common.IllegalArgument`` if a server has left its files here, or runs on them."""
    if site.engine.is_initialized():
        raise errors.ILLEGAL_ARGUMENT(
            name="agentInfo",
            reason=f"{site.engine.home} on {site.own} has the files of a server; remove them first",
        )


async def _check_master(site: Site, master: Address) -> None:
    try:
        info = await site.peers.ask(master, f"{API_PREFIX}/info")
    except errors.OBShellError as error:
        raise errors.UNEXPECTED(cause=error) from error
    if info["identity"] != Identity.MASTER:
        raise errors.IDENTITY_NOT_SUPPORTED(
            agent=master, identity=info["identity"], needed=Identity.MASTER
        )
    if info["version"] != API_VERSION:
        raise errors.AGENT_VERSION_INCONSISTENT(
            agent=site.own, version=API_VERSION, other=master, other_version=info["version"]
        )
    version = await site.engine.version()
    if info["obVersion"] != version:
        raise errors.AGENT_OB_VERSION_INCONSISTENT(
            agent=site.own, version=version, other=master, other_version=info["obVersion"]
        )


async def own_member(site: Site, identity: Identity, zone: str) -> Member:
    """This agent as a member of a cluster."""
    return Member(
        ip=site.own.ip,
        port=site.own.port,
        identity=identity,
        zone=zone,
        version=API_VERSION,
        server_version=await site.engine.version(),
        public_key=site.key.public_text,
        mysql_port=DEFAULT_MYSQL_PORT,
        rpc_port=DEFAULT_MYSQL_PORT + 1,
        home_path=str(site.settings.base_dir),
        architecture=architecture(),
    )


# --- stages --------------------------------------------------------------------------------------


@stage("Join self", Ability.CONTINUE | Ability.RETRY)
async def join_self(run: Run, joining: Joining) -> None:
    """Become the MASTER of a cluster to be."""
    site = run.site
    me = await own_member(site, Identity.MASTER, joining.zone)
    view = ClusterView(own=site.own, identity=Identity.MASTER, members=(me,))
    await site.cluster.save(view)
    run.log(f"{site.own} leads, in zone {joining.zone}")


async def withdraw(run: Run, joining: Joining) -> None:
    """Have the master strike this agent off, in case it was taken in without knowing it."""
    site = run.site
    site.peers.meet(joining.master, joining.master_key)
    site.cluster.acquaintances.pop(joining.master, None)
    patience = Deadline.after(site.settings.rpc_timeout_s)
    try:
        await site.peers.call(joining.master, leaves, Nothing(), patience)
    except errors.OBShellError as error:
        if error.code is not errors.INCORRECT_TOKEN:
            raise
        run.log(f"{joining.master} does not know {site.own}, there is nothing to undo")
    else:
        run.log(f"{joining.master} has struck {site.own} off")


@stage("Join to master", _JOIN, undo=withdraw)
async def join_to_master(run: Run, joining: Joining) -> None:
    """Have the master take this agent in; if it has a password both prove that they know it.

    Until then what answers there is a stranger, who may ask nothing here.
    """
    site = run.site
    site.peers.meet(joining.master, joining.master_key)
    master_key = (await site.peers.proven_key(joining.master)).text
    password, own_key = site.vault.open_text(joining.sealed_password), site.key.public_text
    applying = Application(
        member=await own_member(site, Identity.FOLLOWER, joining.zone),
        proof=await prove(password, own_key, master_key) if password else "",
    )
    patience = Deadline.after(site.settings.rpc_timeout_s)
    admitted = await site.peers.call(joining.master, admit, applying, patience)
    if password and not await is_proved(admitted.proof, password, master_key, own_key):
        raise errors.INCORRECT_TOKEN(
            cause=f"{joining.master} has no agent password, or not the one given"
        )
    site.cluster.acquaintances[joining.master] = master_key
    run.log(f"{joining.master} has taken {site.own} in, in zone {joining.zone}")


@stage("Be follower", _JOIN)
async def be_follower(run: Run, joining: Joining) -> None:
    """Become a FOLLOWER of that master."""
    site = run.site
    site.peers.meet(joining.master, joining.master_key)
    patience = Deadline.after(site.settings.rpc_timeout_s)
    membership = await site.peers.call(joining.master, members, Nothing(), patience)
    view = ClusterView(own=site.own, identity=Identity.FOLLOWER, members=membership.members)
    await site.cluster.save(view)
    site.cluster.acquaintances.clear()
    run.log(f"{site.own} follows {joining.master}")


# --- what a joining agent asks of the master -----------------------------------------------------


class Application(BaseModel):
    """An agent that wants to join, and its proof that it knows the master's agent password."""

    member: Member
    proof: str


class Admission(BaseModel):
    """That it is taken in; with the master's proof that it knows its password, if it has one."""

    proof: str = ""


class Membership(BaseModel):
    """The members of a cluster."""

    members: tuple[Member, ...]


@procedure("agent/admit", for_guests=True)
async def admit(site: Site, caller: Caller, application: Application) -> Admission:
    """Take an agent in as a FOLLOWER, once it is known to be what answers at its address.

    Asked again by the same agent, the answer is the same. Raises ``Agent.AlreadyExists`` for an
    address that is another agent's.
    """
    site.cluster.view.require(Identity.MASTER)
    applicant = application.member.model_copy(update={"identity": Identity.FOLLOWER})
    if applicant.address != caller.address or applicant.public_key != caller.public_key:
        raise errors.INCORRECT_TOKEN(cause="it applies for somebody else")
    proof = await prove_each_other(site, caller, application.proof)
    if await site.tasks.lock_holder(LOCKED) is not None:
        raise errors.AGENT_UNDER_MAINTENANCE(agent=site.own)
    await verify_address(site, applicant.address, caller.public_key)

    def take_in(view: ClusterView) -> ClusterView:
        view.require(Identity.MASTER)
        known = view.member(applicant.address)
        if known is None:
            return view.with_members((*view.members, applicant))
        if known.public_key != applicant.public_key:
            raise errors.AGENT_ALREADY_EXISTS(agent=applicant.address)
        return view

    await site.cluster.change(take_in)
    return Admission(proof=proof)


async def prove_each_other(site: Site, caller: Caller, offered: str) -> str:
    """This agent's proof that it knows its agent password, to a caller that has proved the same.

    Empty if there is none. Raises ``…IncorrectAgentPassword``; whoever tries many has to wait.
    """
    password, own_key = site.cluster.passwords.agent, site.key.public_text
    if password is None:
        return ""
    async with site.logins.judging(caller.host):
        if not await is_proved(offered, password, caller.public_key, own_key):
            raise errors.INCORRECT_AGENT_PASSWORD()
    return await prove(password, own_key, caller.public_key)


async def verify_address(site: Site, address: Address, public_key: str) -> None:
    """Raise ``…IncorrectToken`` unless what answers at an address has that key."""
    secret = await site.peers.ask(address, f"{API_PREFIX}/secret")
    if PublicKey.from_text(secret["public_key"]).text != public_key:
        raise errors.INCORRECT_TOKEN(cause=f"another agent answers at {address}")


@procedure("agent/members")
async def members(site: Site, caller: Caller, request: Nothing) -> Membership:
    """The members as this agent knows them."""
    return Membership(members=site.cluster.view.members)


@procedure("agent/leaves")
async def leaves(site: Site, caller: Caller, request: Nothing) -> Nothing:
    """A follower leaves."""
    site.cluster.view.require(Identity.MASTER)
    await strike_off(site, caller.address)
    return Nothing()


async def strike_off(site: Site, agent: Address) -> None:
    """Take an agent off the list of members."""
    await site.cluster.change(
        lambda view: view.with_members(m for m in view.members if m.address != agent)
    )


STAGES = (join_self, join_to_master, be_follower)
PROCEDURES = (admit, members, leaves)
