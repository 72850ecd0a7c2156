"""A stand-in for OceanBase's distributed ``observer``: looks the same to whoever operates it.

Each process is a thin front that speaks MySQL's protocol. One seekdb, shared by the whole cluster,
answers ordinary SQL; one hub process per cluster owns that seekdb and the truth about the cluster.
Only the standard library is used, and nothing of the project itself.
"""
