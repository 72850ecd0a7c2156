"""The statements by which DAGs change and are read, each named once.

Plain SQL that SQLite and OceanBase both take. Statements that exist before they are needed cost a
fifth of those put together at each call, and the life of a DAG is made of them.
"""

from sqlalchemy import bindparam, text

# --- reading -------------------------------------------------------------------------------------

DAG = text("SELECT * FROM dag WHERE id = :id")
DAG_HEAD = text(
    "SELECT id, stage, max_stage, state, operator, params, data, signals, ordered_at FROM dag"
    " WHERE id = :id"
)
NODE = text("SELECT * FROM node WHERE id = :id")
NODE_AT = text(
    "SELECT id, stage, stage_key, parallel FROM node WHERE dag_id = :dag_id AND stage = :stage"
)
NODE_IDS = text("SELECT id FROM node WHERE dag_id = :dag_id ORDER BY stage")
NODES_OF_DAG = text("SELECT * FROM node WHERE dag_id = :id ORDER BY stage")
SUB_TASKS_IN = text(
    "SELECT id, execute_times, operator, agent_ip, agent_port, abilities FROM sub_task"
    " WHERE node_id = :node_id AND state = :state ORDER BY id"
)
SUB_TASK = text("SELECT * FROM sub_task WHERE id = :id")
SUB_TASKS_OF_NODE = text("SELECT * FROM sub_task WHERE node_id = :id ORDER BY id")
SUB_TASKS_OF_DAG = text("SELECT * FROM sub_task WHERE dag_id = :id ORDER BY id")
LOGS_OF_SUB_TASK = text("SELECT * FROM sub_task_log WHERE sub_task_id = :id ORDER BY id")
LOGS_OF_NODE = text(
    "SELECT l.* FROM sub_task_log l JOIN sub_task s ON s.id = l.sub_task_id"
    " WHERE s.node_id = :id ORDER BY l.id"
)
LOGS_OF_DAG = text(
    "SELECT l.* FROM sub_task_log l JOIN sub_task s ON s.id = l.sub_task_id"
    " WHERE s.dag_id = :id ORDER BY l.id"
)
DAG_IDS = text("SELECT id FROM dag ORDER BY id")
# The living, and the failed that hold a lock (1 is the maintenance type without one).
UNFINISHED_DAG_IDS = text(
    "SELECT id FROM dag WHERE state IN ('PENDING', 'READY', 'RUNNING')"
    " OR (state = 'FAILED' AND maintenance_type <> 1) ORDER BY id"
)
DAG_STATES = text("SELECT id, state FROM dag WHERE id IN :ids").bindparams(
    bindparam("ids", expanding=True)
)
READY_DAG_IDS = text("SELECT id FROM dag WHERE state = 'READY' ORDER BY id")
NEWEST_MAINTENANCE_DAG_ID = text(
    "SELECT id FROM dag WHERE maintenance_type <> 1 ORDER BY id DESC LIMIT 1"
)

# --- creating ------------------------------------------------------------------------------------

INSERT_DAG = text(
    "INSERT INTO dag (name, stage, max_stage, state, operator, maintenance_type, maintenance_key,"
    " params, data, signals, start_time, end_time, ordered_at)"
    " VALUES (:name, 1, :max_stage, 'READY', 'RUN', :maintenance_type, :maintenance_key,"
    " :params, :data, '[]', :now, :now, :now)"
)
INSERT_NODE = text(
    "INSERT INTO node (dag_id, stage, name, stage_key, parallel, state, operator, start_time,"
    " end_time)"
    " VALUES (:dag_id, :stage, :name, :stage_key, :parallel, 'PENDING', 'RUN', :now, :now)"
)
INSERT_SUB_TASK = text(
    "INSERT INTO sub_task (dag_id, node_id, name, state, operator, agent_ip, agent_port,"
    " execute_times, abilities, data, start_time, end_time)"
    " VALUES (:dag_id, :node_id, :name, 'PENDING', 'RUN', :ip, :port, 0, :abilities, '{}',"
    " :now, :now)"
)

# --- running -------------------------------------------------------------------------------------

CLAIM_DAG = text(
    "UPDATE dag SET state = 'RUNNING', start_time = :now WHERE id = :id AND state = 'READY'"
)
BEGIN_NODE = text("UPDATE node SET state = 'RUNNING', start_time = :now WHERE id = :id")
BEGIN_SUB_TASKS = text(
    "UPDATE sub_task SET state = 'RUNNING', start_time = :now, execute_times = execute_times + 1"
    " WHERE node_id = :node_id AND state = 'PENDING'"
)
UNDO_NODE = text(
    "UPDATE node SET state = 'RUNNING', operator = 'ROLLBACK', start_time = :now WHERE id = :id"
)
UNDO_SUB_TASKS = text(
    "UPDATE sub_task SET state = 'RUNNING', operator = 'ROLLBACK', start_time = :now,"
    " execute_times = execute_times + 1 WHERE node_id = :node_id"
)
# Of two who end the same execution, the first one changes a row.
END_SUB_TASK = text(
    "UPDATE sub_task SET state = :state, end_time = :now, data = :data"
    " WHERE id = :id AND state = 'RUNNING' AND execute_times = :execute_times"
)
TALLY_NODE = text(
    "SELECT SUM(state = 'RUNNING') AS running, SUM(state = 'FAILED') AS failed,"
    " SUM(data <> '{}') AS published FROM sub_task WHERE node_id = :node_id"
)
END_NODE = text("UPDATE node SET state = :state, end_time = :now WHERE id = :id")
END_DAG = text("UPDATE dag SET state = :state, end_time = :now WHERE id = :id")
SET_STAGE = text("UPDATE dag SET stage = :stage WHERE id = :id")
SET_DATA = text("UPDATE dag SET data = :data WHERE id = :id")
SET_SIGNALS = text("UPDATE dag SET signals = :signals WHERE id = :id")
PUBLISHED_DATA = text(
    "SELECT data FROM sub_task WHERE node_id = :node_id AND data <> '{}' ORDER BY id"
)
FORGET_PUBLISHED_DATA = text("UPDATE sub_task SET data = '{}' WHERE node_id = :node_id")
SET_AGENT = text("UPDATE sub_task SET agent_ip = :ip, agent_port = :port WHERE id = :id")
ADD_LOG = text(
    "INSERT INTO sub_task_log (sub_task_id, execute_times, content, create_time)"
    " VALUES (:id, :execute_times, :content, :now)"
)

# --- operators -----------------------------------------------------------------------------------

CANCEL_DAG = text("UPDATE dag SET operator = 'CANCEL' WHERE id = :id")
CANCEL_NODE = text("UPDATE node SET operator = 'CANCEL' WHERE id = :id")
CANCEL_SUB_TASKS = text(
    "UPDATE sub_task SET operator = 'CANCEL' WHERE node_id = :node_id AND state <> 'SUCCEED'"
)
FAIL_PENDING_SUB_TASKS = text(
    "UPDATE sub_task SET state = 'FAILED', end_time = :now"
    " WHERE node_id = :node_id AND state = 'PENDING'"
)
RETRY_DAG = text(
    "UPDATE dag SET state = 'READY', operator = 'RUN', start_time = :now, end_time = :now,"
    " ordered_at = :ordered_at WHERE id = :id"
)
RETRY_NODE = text(
    "UPDATE node SET state = 'PENDING', operator = 'RETRY', start_time = :now, end_time = :now"
    " WHERE id = :id"
)
RETRY_FAILED_SUB_TASKS = text(
    "UPDATE sub_task SET state = 'PENDING', operator = 'RETRY', start_time = :now,"
    " end_time = :now WHERE node_id = :node_id AND state = 'FAILED'"
)
REPEAT_DAG = text("UPDATE dag SET stage = 1, data = '{}', signals = '[]' WHERE id = :dag_id")
REPEAT_NODES = text(
    "UPDATE node SET state = 'PENDING', operator = 'RETRY', start_time = :now, end_time = :now"
    " WHERE dag_id = :dag_id AND stage <= :stage"
)
REPEAT_SUB_TASKS = text(
    "UPDATE sub_task SET state = 'PENDING', operator = 'RETRY', data = '{}', start_time = :now,"
    " end_time = :now WHERE node_id IN"
    " (SELECT id FROM node WHERE dag_id = :dag_id AND stage <= :stage)"
)
# What a rollback undid before it failed is to be done again.
RESET_UNDONE_SUB_TASKS = text(
    "UPDATE sub_task SET state = 'PENDING', operator = 'RUN', start_time = :now, end_time = :now"
    " WHERE state = 'SUCCEED' AND operator = 'ROLLBACK' AND node_id IN"
    " (SELECT id FROM node WHERE dag_id = :dag_id AND stage >= :stage)"
)
RESET_UNDONE_NODES = text(
    "UPDATE node SET state = 'PENDING', operator = 'RUN', start_time = :now, end_time = :now"
    " WHERE state = 'SUCCEED' AND operator = 'ROLLBACK' AND dag_id = :dag_id AND stage >= :stage"
)
ROLL_BACK_DAG = text("UPDATE dag SET state = 'READY', operator = 'ROLLBACK' WHERE id = :id")
PASS_DAG = text(
    "UPDATE dag SET state = 'SUCCEED', operator = 'PASS', end_time = :now WHERE id = :id"
)
PASS_NODES = text(
    "UPDATE node SET state = 'SUCCEED', operator = 'PASS', end_time = :now"
    " WHERE dag_id = :dag_id AND stage >= :stage"
)
PASS_NODE = text(
    "UPDATE node SET state = 'SUCCEED', operator = 'PASS', end_time = :now WHERE id = :id"
)
PASS_SUB_TASKS = text(
    "UPDATE sub_task SET state = 'SUCCEED', operator = 'PASS', end_time = :now"
    " WHERE state <> 'SUCCEED' AND node_id IN"
    " (SELECT id FROM node WHERE dag_id = :dag_id AND stage >= :stage)"
)
PASS_SUB_TASKS_OF_NODE = text(
    "UPDATE sub_task SET state = 'SUCCEED', operator = 'PASS', end_time = :now"
    " WHERE node_id = :node_id AND state <> 'SUCCEED'"
)
RESUME_DAG = text("UPDATE dag SET state = 'RUNNING', operator = 'RUN' WHERE id = :id")

# --- locks ---------------------------------------------------------------------------------------

# A global lock (2) stands in everybody's way, a tenant's lock in that of a global one as well.
LOCK_HOLDER = text(
    "SELECT dag_id FROM maintenance"
    " WHERE :kind = 2 OR kind = 2 OR lock_key = :lock_key ORDER BY locked_at LIMIT 1"
)
TAKE_LOCK = text(
    "INSERT INTO maintenance (kind, lock_key, dag_id, locked_at)"
    " VALUES (:kind, :lock_key, :dag_id, :now)"
)
RELEASE_LOCKS = text("DELETE FROM maintenance WHERE dag_id = :dag_id")
