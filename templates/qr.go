package templates

import (
	"fmt"
	"strings"

	"github.com/boombuler/barcode/qr"
)

// qrQuiet is how many modules are left free around a QR code (ISO/IEC 18004).
const qrQuiet = 4

// qrCode draws a QR code: the width of the image, and a path of its dark modules. It is empty for a text that is too
// long for one.
func qrCode(text string) (width int, path string) {
	code, err := qr.Encode(text, qr.M, qr.Auto)
	if err != nil {
		return 0, ""
	}
	size := code.Bounds().Dx()
	var b strings.Builder
	for y := range size {
		for x := 0; x < size; x++ {
			from := x
			for x < size && dark(code.At(x, y).RGBA()) {
				x++
			}
			if x > from {
				fmt.Fprintf(&b, "M%d %dh%dv1h-%dz", from+qrQuiet, y+qrQuiet, x-from, x-from)
			}
		}
	}
	return size + 2*qrQuiet, b.String()
}

func dark(r, _, _, _ uint32) bool { return r == 0 }

// grouped writes a secret in groups of four, which are easier to read and to type.
func grouped(secret string) string {
	var groups []string
	for len(secret) > 4 {
		groups, secret = append(groups, secret[:4]), secret[4:]
	}
	return strings.Join(append(groups, secret), " ")
}
