-- Who may do what in the loyalty database (decision 0026). Run once per server, as its administrator:
--   psql -f infra/postgres/roles.sql
--   createdb -O payivr --template template0 --encoding UTF8 loyalty
-- The node logs in as payivr, which owns the tables and works through the two roles below: `loyalty_runtime`
-- sees one tenant at a time (row policies), `loyalty_writer` books for all tenants and may change no booked row.
CREATE ROLE loyalty_runtime NOLOGIN NOSUPERUSER NOBYPASSRLS;
CREATE ROLE loyalty_writer NOLOGIN NOSUPERUSER NOBYPASSRLS;
CREATE ROLE payivr LOGIN NOINHERIT NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB;
GRANT loyalty_runtime, loyalty_writer TO payivr;
