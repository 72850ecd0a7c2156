"""Which operator is legal when: the one table of it, and the error for each refusal.

             DAG must be      and these nodes must allow it
RETRY        FAILED           the current one; if it says ANEW all begins again
ROLLBACK     FAILED           all up to the current one
CANCEL       not ended        all up to the current one, finished ones included
PASS         FAILED           the current one and all later ones
node PASS    FAILED           that node, which must be FAILED itself and not say ANEW
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pyobshell import errors
from pyobshell.errors import ErrorCode
from pyobshell.tasks.model import Ability, Dag, Node, Operator, State


@dataclass(frozen=True, slots=True)
class _Rule:
    ability: Ability
    legal_in: frozenset[State]
    nodes: Callable[[Dag], tuple[Node, ...]]
    wrong_state: ErrorCode
    not_allowed: ErrorCode


_FAILED = frozenset({State.FAILED})
_LIVING = frozenset({State.PENDING, State.READY, State.RUNNING})


def _until_current(dag: Dag) -> tuple[Node, ...]:
    return dag.nodes[: dag.stage]


def _from_current(dag: Dag) -> tuple[Node, ...]:
    return dag.nodes[dag.stage - 1 :]


_RULES = {
    Operator.RETRY: _Rule(
        Ability.RETRY,
        _FAILED,
        lambda dag: (dag.current,),
        errors.DAG_RETRY_NOT_FAILED,
        errors.DAG_RETRY_NOT_ALLOWED,
    ),
    Operator.ROLLBACK: _Rule(
        Ability.ROLLBACK,
        _FAILED,
        _until_current,
        errors.DAG_ROLLBACK_NOT_FAILED,
        errors.DAG_ROLLBACK_NOT_ALLOWED,
    ),
    Operator.CANCEL: _Rule(
        Ability.CANCEL,
        _LIVING,
        _until_current,
        errors.DAG_CANCEL_FINISHED,
        errors.DAG_CANCEL_NOT_ALLOWED,
    ),
    Operator.PASS: _Rule(
        Ability.PASS,
        _FAILED,
        _from_current,
        errors.DAG_PASS_NOT_FAILED,
        errors.DAG_PASS_NOT_ALLOWED,
    ),
}


def parse_operator(text: str) -> Operator:
    """The operator a user named, in any case; RUN is not one to ask for."""
    try:
        operator = Operator(text.upper())
    except ValueError:
        raise errors.DAG_OPERATOR_NOT_SUPPORTED(operator=text) from None
    if operator not in _RULES:
        raise errors.DAG_OPERATOR_NOT_SUPPORTED(operator=text)
    return operator


def check_operator(dag: Dag, operator: Operator) -> None:
    """Raise the error that says why ``operator`` is illegal for this DAG as it stands."""
    rule = _RULES[operator]
    if dag.state not in rule.legal_in:
        raise rule.wrong_state(state=dag.state)
    for node in rule.nodes(dag):
        if not node.able(rule.ability):
            raise rule.not_allowed(stage=node.name)


def check_node_operator(dag: Dag, node: Node, text: str) -> None:
    """Raise the error that says why a node cannot be passed; PASS is all a node can be asked."""
    if text.upper() != Operator.PASS:
        raise errors.NODE_OPERATOR_NOT_SUPPORTED(operator=text)
    if dag.state is not State.FAILED:
        raise errors.NODE_PASS_NOT_FAILED_DAG(state=dag.state)
    if node.state is not State.FAILED:
        raise errors.NODE_PASS_NOT_FAILED_NODE(state=node.state)
    if not node.able(Ability.PASS) or node.able(Ability.ANEW):
        raise errors.NODE_PASS_NOT_ALLOWED(stage=node.name)
