-- Run once, when PostgreSQL's volume is new: users and permissions beside MLflow's own tables.
CREATE DATABASE users;
