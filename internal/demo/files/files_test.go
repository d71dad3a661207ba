package files

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestAnalyze(t *testing.T) {
	const none = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	assert.Equal(t, Analysis{SHA256: none, Words: []WordCount{}}, Analyze(nil))

	got := Analyze([]byte("abc"))
	assert.Equal(t, Analysis{3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", 1, []WordCount{{"abc", 1}}}, got)

	got = Analyze([]byte("The größe, the GRÖßE: the\n\nre\u0301sume\u0301 re\u0301sume\u0301 x1 y z_z 日本 a b"))
	assert.Equal(t, 3, got.Lines)
	assert.Equal(t, []WordCount{{"the", 3}, {"größe", 2}, {"re\u0301sume\u0301", 2}, {"z", 2}, {"a", 1}}, got.Words)
	assert.Equal(t, 2, Analyze([]byte("a\nb\n")).Lines)
}
