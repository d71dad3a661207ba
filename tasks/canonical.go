package tasks

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// inputKey returns the SHA-256 of an input, in hex.
func inputKey(ctx context.Context, input any) (string, error) {
	h := sha256.New()
	switch in := input.(type) {
	case []byte:
		h.Write(in)
	case io.Reader:
		if err := hashReader(ctx, h, in); err != nil {
			return "", fmt.Errorf("read input: %w", err)
		}
	default:
		text, err := canonical(input)
		if err != nil {
			return "", &InputError{"input", fmt.Sprintf("%T (%v)", input, err), "a value that encoding/json accepts, []byte or io.Reader"}
		}
		h.Write(text)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// hashReader puts a reader that can seek back, because the computation is going to read it too.
func hashReader(ctx context.Context, h io.Writer, r io.Reader) error {
	seeker, _ := r.(io.Seeker)
	var start int64
	if seeker != nil {
		var err error
		if start, err = seeker.Seek(0, io.SeekCurrent); err != nil {
			seeker = nil // a pipe is a file that can't seek
		}
	}
	if _, err := io.Copy(h, readerFunc(func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return r.Read(p)
	})); err != nil {
		return err
	}
	if seeker == nil {
		return nil
	}
	_, err := seeker.Seek(start, io.SeekStart)
	return err
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// canonical returns the JSON of a value in a form that equal values share:
//   - no whitespace outside strings;
//   - the members of objects in the order of their names' bytes in UTF-8; a name that occurs twice is an error;
//   - text as it is, but for \" \\ \b \f \n \r \t and, for other characters below U+0020, \u and four lower-case digits;
//   - numbers exact, with neither leading nor trailing zeros, sign only if negative: see number.
//
// Text that isn't valid Unicode is an error: encoding/json replaces it, so that different inputs would have one key.
func canonical(v any) ([]byte, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	text := buf.Bytes()
	if !utf8.Valid(text) {
		return nil, errUnicode
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	c := canonicalizer{d, text}
	return c.value(nil)
}

var errUnicode = errors.New(`text that is not valid Unicode, or the escape \ufffd`)

type canonicalizer struct {
	*json.Decoder
	text []byte
}

// token returns the next token.
func (c canonicalizer) token() (json.Token, error) {
	start := c.InputOffset()
	t, err := c.Token()
	if s, ok := t.(string); ok {
		// The replacement character stands for itself, or for what was not valid. The latter is an escape in the text.
		const replaced = "\ufffd"
		if strings.Count(s, replaced) > bytes.Count(c.text[start:c.InputOffset()], []byte(replaced)) {
			return nil, errUnicode
		}
	}
	return t, err
}

// value appends the next value.
func (c canonicalizer) value(out []byte) ([]byte, error) {
	t, err := c.token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case json.Delim:
		if t == '{' {
			return c.object(out)
		}
		out = append(out, '[')
		for i := 0; c.More(); i++ {
			if i > 0 {
				out = append(out, ',')
			}
			if out, err = c.value(out); err != nil {
				return nil, err
			}
		}
		_, err = c.token()
		return append(out, ']'), err
	case string:
		return appendText(out, t), nil
	case json.Number:
		s, err := number(string(t))
		return append(out, s...), err
	case bool:
		return strconv.AppendBool(out, t), nil
	}
	return append(out, "null"...), nil
}

// object appends an object whose brace is read.
func (c canonicalizer) object(out []byte) ([]byte, error) {
	type member struct {
		name  string
		value []byte
	}
	var members []member
	for c.More() {
		t, err := c.token()
		if err != nil {
			return nil, err
		}
		value, err := c.value(nil)
		if err != nil {
			return nil, err
		}
		members = append(members, member{t.(string), value})
	}
	if _, err := c.token(); err != nil {
		return nil, err
	}
	slices.SortFunc(members, func(a, b member) int { return cmp.Compare(a.name, b.name) })
	out = append(out, '{')
	for i, m := range members {
		if i > 0 {
			if m.name == members[i-1].name {
				return nil, fmt.Errorf("the name %q occurs twice in an object", m.name)
			}
			out = append(out, ',')
		}
		out = append(append(appendText(out, m.name), ':'), m.value...)
	}
	return append(out, '}'), nil
}

func appendText(out []byte, s string) []byte {
	out = append(out, '"')
	for i := range len(s) {
		b := s[i]
		if b == '"' || b == '\\' {
			out = append(out, '\\', b)
		} else if b >= ' ' {
			out = append(out, b)
		} else if j := strings.IndexByte("\b\f\n\r\t", b); j >= 0 {
			out = append(out, '\\', "bfnrt"[j])
		} else {
			out = fmt.Appendf(out, `\u%04x`, b)
		}
	}
	return append(out, '"')
}

// number returns the normal form of a JSON number. It is exact, so 1, 1.0 and 10e-1 are 1,
// and integers above 2^53 stay apart. Numbers from 1e-6 to below 1e21 are written without an exponent,
// and others with one digit before the point, as in 1.5e+21 and 1e-7.
func number(s string) (string, error) {
	digits, sign := s, ""
	if digits[0] == '-' {
		digits, sign = digits[1:], "-"
	}
	exp := 0
	if i := strings.IndexAny(digits, "eE"); i >= 0 {
		var err error
		digits, s = digits[:i], digits[i+1:]
		n, err := strconv.ParseInt(s, 10, 31)
		if err != nil && strings.Trim(digits, "0.") != "" {
			return "", fmt.Errorf("the exponent %s is out of range", s)
		}
		exp = int(n)
	}
	whole, fraction, _ := strings.Cut(digits, ".")
	// The value is 0.digits * 10^point.
	digits = whole + fraction
	point := len(whole) + exp
	trimmed := strings.TrimLeft(digits, "0")
	point -= len(digits) - len(trimmed)
	digits = strings.TrimRight(trimmed, "0")
	n := len(digits)
	switch {
	case n == 0:
		return "0", nil
	case point > 21 || point < -5:
		if n > 1 {
			digits = digits[:1] + "." + digits[1:]
		}
		return fmt.Sprintf("%s%se%+d", sign, digits, point-1), nil
	case point <= 0:
		return sign + "0." + strings.Repeat("0", -point) + digits, nil
	case n <= point:
		return sign + digits + strings.Repeat("0", point-n), nil
	}
	return sign + digits[:point] + "." + digits[point:], nil
}
