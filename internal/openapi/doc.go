// Package openapi holds the OpenAPI document of package taskhttp against recorded traffic, by a validator of others.
package openapi
