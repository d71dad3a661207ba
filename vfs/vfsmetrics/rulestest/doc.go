// Package rulestest tries each expression of the dashboard and of the alert rules beside it, with Prometheus's own parser and engine,
// on what is scraped of real databases and tasks. It is a module of its own, since Prometheus is large.
package rulestest
