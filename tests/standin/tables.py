"""The tables of seekdb that stand for the views of a cluster."""

from __future__ import annotations

from dataclasses import dataclass

_TIME = "timestamp(6) NULL DEFAULT NULL"


@dataclass(frozen=True)
class Table:
    """A table: its columns, of which the first ``keys`` make the primary key."""

    name: str
    columns: str
    keys: int

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return [column.split()[0] for column in self.columns.split(", ")]

    @property
    def statement(self) -> str:
        """What makes it."""
        columns = self.columns.replace(" TIME", f" {_TIME}").replace("_unsigned", " unsigned")
        key = ", ".join(self.names[: self.keys])
        return f"CREATE TABLE oceanbase.`{self.name}` ({columns}, PRIMARY KEY ({key}))"


TABLES = [
    Table(
        "DBA_OB_SERVERS",
        "SVR_IP varchar(46), SVR_PORT bigint, ID bigint, ZONE varchar(128), SQL_PORT bigint,"
        " WITH_ROOTSERVER varchar(3), STATUS varchar(64), START_SERVICE_TIME TIME,"
        " STOP_TIME TIME, BLOCK_MIGRATE_IN_TIME TIME, LAST_OFFLINE_TIME TIME, CREATE_TIME TIME,"
        " MODIFY_TIME TIME, BUILD_VERSION varchar(256)",
        2,
    ),
    Table(
        "DBA_OB_ZONES",
        "ZONE varchar(128), CREATE_TIME TIME, MODIFY_TIME TIME, STATUS varchar(4096),"
        " IDC varchar(4096), REGION varchar(4096), TYPE varchar(4096)",
        1,
    ),
    Table(
        "GV$OB_SERVERS",
        "SVR_IP varchar(46), SVR_PORT bigint, ZONE varchar(128), SQL_PORT bigint,"
        " CPU_CAPACITY bigint, CPU_CAPACITY_MAX double, CPU_ASSIGNED double,"
        " CPU_ASSIGNED_MAX double, MEM_CAPACITY bigint, MEM_ASSIGNED bigint,"
        " LOG_DISK_CAPACITY bigint, LOG_DISK_ASSIGNED bigint, LOG_DISK_IN_USE bigint,"
        " DATA_DISK_CAPACITY bigint, DATA_DISK_IN_USE bigint,"
        " DATA_DISK_HEALTH_STATUS varchar(20), MEMORY_LIMIT bigint, DATA_DISK_ALLOCATED bigint,"
        " DATA_DISK_ASSIGNED bigint, DATA_DISK_ABNORMAL_TIME TIME, SSL_CERT_EXPIRED_TIME TIME",
        2,
    ),
    Table(
        "standin_log_stat",
        "TENANT_ID bigint, LS_ID bigint, SVR_IP varchar(46), SVR_PORT bigint, ROLE varchar(32),"
        " PROPOSAL_ID bigint, CONFIG_VERSION varchar(128), PAXOS_MEMBER_LIST varchar(1024),"
        " PAXOS_REPLICA_NUM bigint, IN_SYNC varchar(3)",
        4,
    ),
    Table(
        "standin_ls_info",
        "tenant_id bigint, ls_id bigint, svr_ip varchar(46), svr_port bigint, ls_state varchar(16),"
        " checkpoint_scn bigint_unsigned",
        4,
    ),
    Table(
        "CDB_OB_LS_LOCATIONS",
        "TENANT_ID bigint, LS_ID bigint, SVR_IP varchar(46), SVR_PORT bigint, CREATE_TIME TIME,"
        " MODIFY_TIME TIME, SQL_PORT bigint, ZONE varchar(128), ROLE varchar(8),"
        " MEMBER_LIST varchar(4096), PAXOS_REPLICA_NUMBER bigint, REPLICA_TYPE varchar(16)",
        4,
    ),
    Table(
        "DBA_OB_TENANTS",
        "TENANT_ID bigint, TENANT_NAME varchar(128), TENANT_TYPE varchar(4), CREATE_TIME TIME,"
        " MODIFY_TIME TIME, PRIMARY_ZONE varchar(128), LOCALITY varchar(4096),"
        " PREVIOUS_LOCALITY varchar(4096), COMPATIBILITY_MODE varchar(6), STATUS varchar(64),"
        " IN_RECYCLEBIN varchar(3), LOCKED varchar(3), TENANT_ROLE varchar(64),"
        " SWITCHOVER_STATUS varchar(100), SWITCHOVER_EPOCH bigint, SYNC_SCN bigint,"
        " READABLE_SCN bigint, LOG_MODE varchar(100), UNIT_NUM bigint, COMPATIBLE varchar(256),"
        " MAX_LS_ID bigint",
        1,
    ),
    Table(
        "DBA_OB_UNITS",
        "UNIT_ID bigint, TENANT_ID bigint, STATUS varchar(128), RESOURCE_POOL_ID bigint,"
        " UNIT_GROUP_ID bigint, CREATE_TIME TIME, MODIFY_TIME TIME, ZONE varchar(128),"
        " SVR_IP varchar(46), SVR_PORT bigint, MIGRATE_FROM_SVR_IP varchar(46),"
        " MIGRATE_FROM_SVR_PORT bigint, MANUAL_MIGRATE varchar(3), UNIT_CONFIG_ID bigint,"
        " MAX_CPU double, MIN_CPU double, MEMORY_SIZE bigint, LOG_DISK_SIZE bigint,"
        " DATA_DISK_SIZE bigint, MAX_IOPS bigint, MIN_IOPS bigint, IOPS_WEIGHT bigint",
        1,
    ),
    Table(
        "DBA_OB_RESOURCE_POOLS",
        "RESOURCE_POOL_ID bigint, NAME varchar(128), TENANT_ID bigint, CREATE_TIME TIME,"
        " MODIFY_TIME TIME, UNIT_COUNT bigint, UNIT_CONFIG_ID bigint, ZONE_LIST varchar(8192),"
        " REPLICA_TYPE varchar(16)",
        1,
    ),
    Table(
        "DBA_OB_UNIT_CONFIGS",
        "UNIT_CONFIG_ID bigint, NAME varchar(128), CREATE_TIME TIME, MODIFY_TIME TIME,"
        " MAX_CPU double, MIN_CPU double, MEMORY_SIZE bigint, LOG_DISK_SIZE bigint,"
        " DATA_DISK_SIZE bigint, MAX_IOPS bigint, MIN_IOPS bigint, IOPS_WEIGHT bigint",
        1,
    ),
    Table(
        "DBA_OB_TENANT_JOBS",
        "JOB_ID bigint, JOB_TYPE varchar(128), JOB_STATUS varchar(128), RESULT_CODE bigint,"
        " PROGRESS bigint, START_TIME TIME, MODIFY_TIME TIME, TENANT_ID bigint,"
        " SQL_TEXT varchar(4096), EXTRA_INFO varchar(4096)",
        1,
    ),
    Table(
        "GV$OB_SERVER_SCHEMA_INFO",
        "SVR_IP varchar(46), SVR_PORT bigint, TENANT_ID bigint, REFRESHED_SCHEMA_VERSION bigint,"
        " RECEIVED_SCHEMA_VERSION bigint, SCHEMA_COUNT bigint, SCHEMA_SIZE bigint,"
        " MIN_SSTABLE_SCHEMA_VERSION bigint",
        3,
    ),
    Table(
        "GV$SYSSTAT",
        "SVR_IP varchar(46), SVR_PORT bigint, CON_ID bigint, STAT_ID bigint, NAME varchar(64),"
        " CLASS bigint, VALUE bigint, VALUE_TYPE varchar(16)",
        4,
    ),
    Table(
        "standin_parameter",
        "SVR_IP varchar(46), SVR_PORT bigint, TENANT_ID bigint, NAME varchar(128),"
        " VALUE varchar(4096)",
        4,
    ),
    Table(
        "standin_variable",
        "TENANT_ID bigint, NAME varchar(128), VALUE varchar(4096)",
        2,
    ),
]
