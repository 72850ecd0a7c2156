"""The objects in schema ``oceanbase`` that the views need, made once in a cluster's life."""

from __future__ import annotations

from standin.backend import Backend, literal, replace
from standin.command_line import VERSION
from standin.tables import TABLES

DOCUMENT = "SELECT document FROM oceanbase.standin_cluster WHERE id = 1"
_OWN_PARAMETERS = {
    "cluster": ("STRING", "Name of the cluster", "OBSERVER", "DYNAMIC_EFFECTIVE"),
    "cluster_id": ("INT", "ID of the cluster", "OBSERVER", "DYNAMIC_EFFECTIVE"),
    "zone": ("STRING", "the zone of the server", "OBSERVER", "READONLY"),
    "rootservice_list": ("STRING_LIST", "all root servers", "LOCATION_CACHE", "DYNAMIC_EFFECTIVE"),
    "mysql_port": ("INT", "port number for mysql connection", "OBSERVER", "READONLY"),
    "rpc_port": ("INT", "the port number for RPC protocol", "OBSERVER", "READONLY"),
    "local_ip": ("STRING", "the IP address of the machine", "OBSERVER", "READONLY"),
    "devname": ("STRING", "name of network adapter", "OBSERVER", "READONLY"),
    "data_dir": ("STRING", "the directory for the data file", "SSTABLE", "READONLY"),
    "memory_limit": ("CAPACITY", "the size of the memory", "OBSERVER", "DYNAMIC_EFFECTIVE"),
    "system_memory": ("CAPACITY", "memory of tenant 500", "OBSERVER", "DYNAMIC_EFFECTIVE"),
    "cpu_count": ("INT", "the number of CPU's", "OBSERVER", "DYNAMIC_EFFECTIVE"),
    "datafile_size": ("CAPACITY", "size of the data file", "SSTABLE", "DYNAMIC_EFFECTIVE"),
    "log_disk_size": (
        "CAPACITY",
        "the size of disk space for logs",
        "LOGSERVICE",
        "DYNAMIC_EFFECTIVE",
    ),
    "min_observer_version": ("STRING", "the minimum version", "ROOT_SERVICE", "READONLY"),
    "enable_rebalance": ("BOOL", "whether units are balanced", "LOAD_BALANCE", "DYNAMIC_EFFECTIVE"),
    "server_permanent_offline_time": (
        "TIME",
        "removal from Paxos groups",
        "ROOT_SERVICE",
        "DYNAMIC_EFFECTIVE",
    ),
    "major_freeze_duty_time": (
        "MOMENT",
        "the time of the daily freeze",
        "DAILY_MERGE",
        "DYNAMIC_EFFECTIVE",
    ),
}
_DEFAULTS = {
    "min_observer_version": VERSION,
    "major_freeze_duty_time": "02:00",
    "memory_limit": "0M",
    "system_memory": "0M",
    "cpu_count": "0",
    "datafile_size": "0M",
    "log_disk_size": "0M",
    "enable_rebalance": "True",
    "server_permanent_offline_time": "3600s",
}
_TENANT_PARAMETERS = (
    "compatible",
    "cpu_quota_concurrency",
    "default_auto_increment_mode",
    "freeze_trigger_percentage",
    "log_disk_utilization_threshold",
    "major_freeze_duty_time",
    "max_stale_time_for_weak_consistency",
    "minor_compact_trigger",
    "undo_retention",
    "workarea_size_policy",
    "writing_throttling_trigger_percentage",
)
LOAD_TIME_ZONES = "REPLACE INTO mysql.time_zone VALUES (1, 'N')"
_PARAMETER_KINDS = """CREATE TABLE oceanbase.standin_parameter_kind (NAME varchar(128) PRIMARY KEY,
 SCOPE varchar(64), DATA_TYPE varchar(128), INFO varchar(4096), SECTION varchar(128),
 EDIT_LEVEL varchar(128), DEFAULT_VALUE varchar(4096))"""
_SESSIONS = """CREATE TABLE oceanbase.standin_session (ID bigint unsigned PRIMARY KEY,
 SVR_IP varchar(46), SVR_PORT bigint, TENANT varchar(128))"""
_BACKUP_JOBS = """CREATE TABLE oceanbase.CDB_OB_BACKUP_JOBS (TENANT_ID bigint, JOB_ID bigint,
 STATUS varchar(64), START_TIMESTAMP timestamp(6) NULL, PRIMARY KEY (TENANT_ID, JOB_ID))"""
_TIME_ZONES = """CREATE TABLE mysql.time_zone (Time_zone_id int PRIMARY KEY,
 Use_leap_seconds varchar(1))"""
_DOCUMENT = """CREATE TABLE oceanbase.standin_cluster (id int PRIMARY KEY, document longtext)"""
_LOG_STAT = """CREATE VIEW oceanbase.`GV$OB_LOG_STAT` AS SELECT s.TENANT_ID, s.LS_ID, s.SVR_IP,
 s.SVR_PORT, s.ROLE, s.PROPOSAL_ID, s.CONFIG_VERSION, v.ACCESS_MODE, s.PAXOS_MEMBER_LIST,
 s.PAXOS_REPLICA_NUM, s.IN_SYNC, v.BASE_LSN, v.BEGIN_LSN, v.BEGIN_SCN, v.END_LSN, v.END_SCN,
 v.MAX_LSN, v.MAX_SCN, '' AS ARBITRATION_MEMBER, '' AS DEGRADED_LIST, '' AS LEARNER_LIST
 FROM oceanbase.standin_log_stat s JOIN oceanbase.`V$OB_LOG_STAT` v ON 1 = 1"""
_PARAMETERS = """CREATE VIEW oceanbase.`GV$OB_PARAMETERS` AS SELECT s.SVR_IP, s.SVR_PORT, s.ZONE,
 k.SCOPE, IF(k.SCOPE = 'TENANT', t.TENANT_ID, NULL) AS TENANT_ID, k.NAME, k.DATA_TYPE,
 COALESCE(p.VALUE, k.DEFAULT_VALUE) AS VALUE, k.INFO, k.SECTION, k.EDIT_LEVEL, k.DEFAULT_VALUE,
 IF(p.VALUE IS NULL OR p.VALUE = k.DEFAULT_VALUE, 'YES', 'NO') AS ISDEFAULT
 FROM oceanbase.DBA_OB_SERVERS s JOIN oceanbase.standin_parameter_kind k ON 1 = 1
 JOIN oceanbase.DBA_OB_TENANTS t ON t.TENANT_TYPE != 'META'
 AND (k.SCOPE = 'TENANT' OR t.TENANT_ID = 1)
 LEFT JOIN oceanbase.standin_parameter p ON p.SVR_IP = s.SVR_IP AND p.SVR_PORT = s.SVR_PORT
 AND p.NAME = k.NAME AND p.TENANT_ID = IF(k.SCOPE = 'TENANT', t.TENANT_ID, 0)
 WHERE s.STATUS != 'INACTIVE'"""
_PARAMETER_STAT = """CREATE VIEW oceanbase.standin_sys_parameter_stat AS SELECT zone AS zone,
 'observer' AS svr_type, svr_ip AS svr_ip, svr_port AS svr_port, name AS name,
 data_type AS data_type, value AS value, value AS value_strict, info AS info, 0 AS need_reboot,
 section AS section, 'SYS' AS visible_level, scope AS scope, 'DEFAULT' AS source,
 edit_level AS edit_level, default_value AS default_value, IF(isdefault = 'YES', 1, 0) AS isdefault
 FROM oceanbase.`GV$OB_PARAMETERS`"""
_VARIABLES = """CREATE VIEW oceanbase.CDB_OB_SYS_VARIABLES AS SELECT v.CREATE_TIME, v.MODIFY_TIME,
 t.TENANT_ID, v.NAME, COALESCE(o.VALUE, v.VALUE) AS VALUE, v.MIN_VALUE, v.MAX_VALUE, v.SCOPE,
 v.INFO, v.DEFAULT_VALUE, v.ISDEFAULT
 FROM oceanbase.DBA_OB_SYS_VARIABLES v JOIN oceanbase.DBA_OB_TENANTS t ON 1 = 1
 LEFT JOIN oceanbase.standin_variable o ON o.TENANT_ID = t.TENANT_ID AND o.NAME = v.NAME"""
_SESSION_VIEW = """CREATE VIEW oceanbase.`GV$OB_{name}` AS SELECT s.SVR_IP AS SVR_IP,
 s.SVR_PORT AS SVR_PORT, s.TENANT AS TENANT, v.* FROM oceanbase.`V$OB_{name}` v
 JOIN oceanbase.standin_session s ON s.ID = v.ID"""
_VIEWS = [_LOG_STAT, _PARAMETERS, _PARAMETER_STAT, _VARIABLES]


async def make(backend: Backend) -> None:
    """Make them all, in a database that has none of them."""
    for table in TABLES:
        await backend.query(table.statement)
    for statement in (_PARAMETER_KINDS, _SESSIONS, _BACKUP_JOBS, _TIME_ZONES, _DOCUMENT):
        await backend.query(statement)
    await _fill_parameter_kinds(backend)
    for statement in _VIEWS:
        await backend.query(statement)
    for name in ("PROCESSLIST", "SESSION"):
        await backend.query(_SESSION_VIEW.format(name=name))


async def _fill_parameter_kinds(backend: Backend) -> None:
    of_tenants = ", ".join(map(literal, _TENANT_PARAMETERS))
    await backend.query(
        "INSERT INTO oceanbase.standin_parameter_kind SELECT NAME,"
        f" IF(NAME IN ({of_tenants}), 'TENANT', SCOPE), DATA_TYPE, INFO, SECTION, EDIT_LEVEL,"
        " DEFAULT_VALUE FROM oceanbase.`V$OB_PARAMETERS`"
    )
    rows = [
        (
            name,
            "TENANT" if name in _TENANT_PARAMETERS else "CLUSTER",
            *about,
            _DEFAULTS.get(name, ""),
        )
        for name, about in _OWN_PARAMETERS.items()
    ]
    await backend.query(replace("oceanbase.standin_parameter_kind", rows))
