// Package pagetest has a real Chromium drive the page of package taskhttp: see the tests.
// It is a module of its own, so that nobody else downloads what speaks to a browser.
package pagetest
