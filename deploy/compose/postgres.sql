-- Run once, by the superuser, when the volume is empty. Tables and rights come from Tocsin itself
-- (`store-schema` and `store-roles` in compose.yaml).
\set owner `cat /run/secrets/postgres_owner_password`
\set daemon `cat /run/secrets/postgres_daemon_password`
CREATE ROLE tocsin_owner LOGIN PASSWORD :'owner';
CREATE ROLE tocsin_daemon LOGIN PASSWORD :'daemon';
-- For a dashboard: ALTER ROLE tocsin_reader LOGIN PASSWORD '...'.
CREATE ROLE tocsin_reader NOLOGIN;
ALTER DATABASE :"DBNAME" OWNER TO tocsin_owner;
