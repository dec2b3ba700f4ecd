package logo

import (
	"bytes"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"testing"
)

// picture is an image of one colour.
func picture(width, height int) image.Image {
	m := image.NewPaletted(image.Rect(0, 0, width, height), color.Palette{color.Transparent, color.RGBA{255, 0, 0, 255}})
	for i := range m.Pix {
		m.Pix[i] = 1
	}
	return m
}

func TestD06_ALogoIsEncodedAgain(t *testing.T) {
	for name, write := range map[string]func(*bytes.Buffer, image.Image) error{
		"png":  func(b *bytes.Buffer, m image.Image) error { return png.Encode(b, m) },
		"jpeg": func(b *bytes.Buffer, m image.Image) error { return jpeg.Encode(b, m, nil) },
		"gif":  func(b *bytes.Buffer, m image.Image) error { return gif.Encode(b, m, nil) },
	} {
		var in bytes.Buffer
		if err := write(&in, picture(200, 100)); err != nil {
			t.Fatal(err)
		}
		in.WriteString("<script>alert(1)</script>") // after the image, where readers do not look
		out, err := encode(in.Bytes())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		m, format, err := image.Decode(bytes.NewReader(out))
		if err != nil || format != "png" || m.Bounds().Dx() != side || m.Bounds().Dy() != side ||
			bytes.Contains(out, []byte("script")) {
			t.Errorf("%s: %s, %v, %v", name, format, m.Bounds(), err)
			continue
		}
		// The picture is in the middle, on white.
		r, g, _, _ := m.At(side/2, side/2).RGBA()
		if corner := m.At(0, 0); r>>8 < 250 || g>>8 > 5 || corner != (color.RGBA{255, 255, 255, 255}) {
			t.Errorf("%s: middle %v, corner %v", name, m.At(side/2, side/2), corner)
		}
	}
}

func TestD06_ALogoThatIsNotAnImageOrTooLargeIsRefused(t *testing.T) {
	var huge, cut bytes.Buffer
	if err := png.Encode(&huge, picture(maxSide+1, 1)); err != nil {
		t.Fatal(err)
	}
	if err := png.Encode(&cut, picture(300, 300)); err != nil {
		t.Fatal(err)
	}
	for name, body := range map[string][]byte{
		"empty": nil, "text": []byte("hello"), "SVG": []byte(`<svg xmlns="http://www.w3.org/2000/svg"/>`),
		"more pixels than are read": huge.Bytes(), "cut off": cut.Bytes()[:60],
	} {
		if out, err := encode(body); err == nil || out != nil {
			t.Errorf("%s: %d bytes, %v", name, len(out), err)
		}
	}
}

func TestEmptyImageIsTransparent(t *testing.T) {
	m, err := png.Decode(bytes.NewReader(empty))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, _, alpha := m.At(0, 0).RGBA(); alpha != 0 {
		t.Errorf("alpha is %d", alpha)
	}
}
