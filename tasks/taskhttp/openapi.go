package taskhttp

import (
	_ "embed"
	"net/http"
)

// openapiJSON describes the endpoints. A test holds it against them.
//
//go:embed openapi.json
var openapiJSON []byte

// OpenAPI returns the document that describes the endpoints, in OpenAPI 3.1.
func OpenAPI() []byte { return openapiJSON }

func (h *Handler) openAPI(r *request) error {
	h.answer(r, http.StatusOK, openapiJSON)
	return nil
}
