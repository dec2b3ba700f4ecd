package security

import (
	"encoding/base32"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"doorward/storage"
	"doorward/test/authenticator"
	"doorward/test/postgres"
	"doorward/test/rig"
	"doorward/test/stores"
)

// withCode makes a user with an authenticator app.
func withCode(r *rig.Rig, email string) (u storage.User, secret string, recovery []string) {
	r.T.Helper()
	u = r.User(email, "Person", false)
	secret, recovery = addTOTP(r.Browser().SignIn(u.Email))
	return u, secret, recovery
}

// nextStep moves the clock to where no code of an authenticator app was used.
func nextStep(r *rig.Rig) { r.Advance(5 * time.Minute) }

// A one-time password is accepted once, and none of its step or an earlier one after it, not even that with which the
// app was set up. Clocks may differ by one step (G-17).
func TestG17_AOneTimePasswordIsAcceptedOnce(t *testing.T) {
	rig.Each(t, withPasskeys(), func(t *testing.T, r *rig.Rig) {
		r.StopClock()
		u, secret, _ := withCode(r, "owner@example.com")
		_, foreign, _ := withCode(r, "other@example.com")
		b := r.Browser()
		form := halfway(b, u.Email)
		refuse := func(name, code string) {
			t.Helper()
			wantPage(t, second(b, form, code), http.StatusUnauthorized)
			if signedInAs(b) != "" {
				t.Fatalf("%s signs in", name)
			}
		}
		refuse("the code of the set-up", otpOf(r, secret, 0))
		refuse("an earlier code", otpOf(r, secret, -30*time.Second))
		later := otpOf(r, secret, 30*time.Second)
		nextStep(r)
		b = r.Browser()
		form = halfway(b, u.Email)
		refuse("a code of two steps ago", otpOf(r, secret, -time.Minute))
		refuse("a code of two steps ahead", otpOf(r, secret, time.Minute))
		refuse("the code of another user", otpOf(r, foreign, 0))
		refuse("an old code", later)
		for _, text := range []string{
			"", " ", "0", "12345", "1234567", "००००००", "-", "\x00", "\xff", strings.Repeat("1", 5000),
		} {
			if a := second(b, form, text); a.Status != http.StatusUnauthorized && a.Status != http.StatusTooManyRequests {
				t.Errorf("%.20q is answered %d", text, a.Status)
			}
			r.Advance(time.Hour)
			form = halfway(b, u.Email)
			resetTries(r)
		}
		for _, distance := range []time.Duration{-30 * time.Second, 0, 30 * time.Second} {
			nextStep(r)
			code := otpOf(r, secret, distance)
			b = r.Browser()
			redirects(t, second(b, halfway(b, u.Email), code[:3]+" "+code[3:]), "/settings/profile")
			b = r.Browser()
			form = halfway(b, u.Email)
			refuse("the same code again", code)
			for d := distance - 30*time.Second; d >= -30*time.Second; d -= 30 * time.Second {
				refuse("an earlier code", otpOf(r, secret, d))
			}
		}
		if got := recorded(t, r, "login.failed", u.ID); got == 0 {
			t.Error("wrong codes are not in the audit log")
		}
	})
}

// resetTries forgets wrong codes, where a test is about something else.
func resetTries(r *rig.Rig) { r.SQL(`UPDATE totp SET tries = 0`) }

// Of 64 uses of one code at the same moment, at all nodes and from as many addresses, one signs in (G-17).
func TestG17_AOneTimePasswordSignsInOnceAtOnce(t *testing.T) {
	o := withPasskeys()
	o.AtOnce = true
	rig.EachNodes(t, o, func(t *testing.T, nodes []*rig.Rig) {
		r := nodes[0]
		u, secret, recovery := withCode(r, "owner@example.com")
		for _, n := range nodes {
			nextStep(n)
		}
		b := r.Browser()
		form := halfway(b, u.Email)
		for name, code := range map[string]string{"one-time password": otpOf(r, secret, 0), "recovery code": recovery[0]} {
			before := len(sessionsOf(t, r, u.ID))
			var i addresses
			worked, others := atOnce(nodes, b, func(b *rig.Browser) *rig.Answer { return second(b, form, code, i.next()...) })
			if n := len(sessionsOf(t, r, u.ID)) - before; worked != 1 || n != 1 {
				t.Errorf("%s: %d of 64 had an effect, with %d sessions", name, worked, n)
			}
			wantOnly(t, others, http.StatusUnauthorized, http.StatusTooManyRequests)
		}
		if left, _, err := r.Store.RecoveryCodesOf(r.System(), u.ID); err != nil || left != 9 {
			t.Errorf("%d recovery codes are left, %v", left, err)
		}
	})
}

// After ten wrong codes within a day, no one-time password is accepted for the rest of it, in however many sign-ins and
// from however many addresses they came, also at the same moment; recovery codes and passkeys are (G-17, G-32).
func TestG17_TenWrongOneTimePasswordsADay(t *testing.T) {
	o := withPasskeys()
	o.AtOnce = true
	rig.EachNodes(t, o, func(t *testing.T, nodes []*rig.Rig) {
		r := nodes[0]
		r.StopClock()
		u, owner, a := person(r, "owner@example.com")
		secret, recovery := addTOTP(owner)
		_, aliens, _ := withCode(r, "other@example.com")
		advance := func(d time.Duration) {
			for _, n := range nodes {
				n.Advance(d)
			}
		}
		advance(time.Hour)
		wrong := wrongOTP(r, secret)
		for i := range 9 { // one each in another sign-in, from another address
			b := r.Browser()
			wantPage(t, second(b, halfway(b, u.Email), wrong, "X-Forwarded-For", fmt.Sprintf("192.0.2.%d", i)),
				http.StatusUnauthorized)
			advance(time.Hour)
		}
		b := r.Browser()
		form := halfway(b, u.Email)
		wrong = wrongOTP(r, secret)
		var i addresses
		worked, others := atOnce(nodes, b, func(b *rig.Browser) *rig.Answer { return second(b, form, wrong, i.next()...) })
		compared := 0
		for _, status := range others {
			if status == http.StatusUnauthorized {
				compared++
			}
		}
		wantOnly(t, others, http.StatusUnauthorized, http.StatusTooManyRequests)
		if worked != 0 || compared != 1 {
			t.Errorf("after nine wrong codes, %d of 64 at once were compared, and %d worked", compared, worked)
		}
		right := otpOf(r, secret, 0)
		refused := second(b, form, right, "X-Forwarded-For", "192.0.2.200")
		wantPage(t, refused, http.StatusTooManyRequests)
		if n, err := strconv.Atoi(refused.Header.Get("Retry-After")); err != nil || n < 60 {
			t.Errorf("Retry-After is %q", refused.Header.Get("Retry-After"))
		}
		if signedInAs(b) != "" {
			t.Error("the right code signs in after ten wrong ones")
		}
		redirects(t, second(b, form, recovery[0], "X-Forwarded-For", "192.0.2.201"), "/settings/profile")
		byPasskey(r.Browser(), a)
		// A recovery code or passkey does not give more tries; nor does a proof on a page of a signed-in user.
		b = r.Browser()
		form = halfway(b, u.Email)
		wantPage(t, second(b, form, right, "X-Forwarded-For", "192.0.2.202"), http.StatusTooManyRequests)
		signedIn := byPasskey(r.Browser(), a)
		advance(10 * time.Minute)
		got := signedIn.PostForm("/settings/profile/export", with(nil, "current_password", rig.Password, "current_code",
			otpOf(r, secret, 0)), "X-Forwarded-For", "192.0.2.203")
		wantPage(t, got, http.StatusTooManyRequests)
		// Another user's codes are as before, and these are after a day.
		b = r.Browser()
		redirects(t, second(b, halfway(b, "other@example.com"), otpOf(r, aliens, 0)), "/settings/profile")
		advance(24 * time.Hour)
		byCode(r.Browser(), u.Email, otpOf(r, secret, 0))
	})
}

// addresses are different ones.
type addresses struct{ n atomic.Int64 }

func (a *addresses) next() []string {
	return []string{"X-Forwarded-For", fmt.Sprintf("198.51.100.%d", a.n.Add(1))}
}

// wrongOTP is a code that is not that of any step near now.
func wrongOTP(r *rig.Rig, secret string) string {
	r.T.Helper()
	for n := range 10 {
		code := fmt.Sprintf("%06d", n)
		found := false
		for d := -2; d <= 2; d++ {
			found = found || otpOf(r, secret, time.Duration(d)*30*time.Second) == code
		}
		if !found {
			return code
		}
	}
	r.T.Fatal("each of ten codes is right")
	return ""
}

// Wrong codes count as failed sign-ins of the account from that address: they and passwords are throttled together
// (G-17).
func TestG17_WrongCodesCountAsFailedSignIns(t *testing.T) {
	r := rig.Memory(t, withPasskeys())
	r.StopClock()
	u, secret, recovery := withCode(r, "owner@example.com")
	nextStep(r)
	b := r.Browser()
	form := halfway(b, u.Email)
	for i := range 10 {
		code := "2222-2222-2222"
		if i%2 == 0 {
			code = wrongOTP(r, secret)
		}
		wantPage(t, second(b, form, code), http.StatusUnauthorized)
	}
	for _, code := range []string{otpOf(r, secret, 0), recovery[0], "222222222222"} {
		wantThrottled(t, second(b, form, code))
	}
	wantThrottled(t, attempt(r.Browser(), u.Email, rig.Password))
	if signedInAs(b) != "" || recorded(t, r, "login.failed", u.ID) == 0 {
		t.Errorf("signed in as %q, %d events", signedInAs(b), recorded(t, r, "login.failed", u.ID))
	}
	// Throttled tries were not compared: the recovery code is as it was.
	r.Advance(61 * time.Second)
	redirects(t, second(b, form, recovery[0]), "/settings/profile")
}

// One who knows the password gets no further tries of codes by entering it again (G-02, G-17).
func TestG17_ThePasswordForgivesNoWrongCodes(t *testing.T) {
	r := rig.Memory(t, withPasskeys())
	r.StopClock()
	u, _, recovery := withCode(r, "owner@example.com")
	stale := byCode(r.Browser(), u.Email, recovery[0])
	r.Advance(6 * time.Minute)
	const wrong = "2222-2222-2222"
	for name, send := range map[string]func() *rig.Answer{
		"sign-in": func() *rig.Answer {
			thief := r.Browser()
			if a := attempt(thief, u.Email, rig.Password); a.Status != http.StatusSeeOther {
				return a
			}
			return second(thief, nil, wrong)
		},
		"confirmation": func() *rig.Answer {
			form := with(nil, "current_password", rig.Password, "current_code", wrong)
			return stale.PostForm("/settings/profile/export", form)
		},
	} {
		compared := 0
		for range 20 {
			if send().Status != http.StatusTooManyRequests {
				compared++
			}
		}
		if compared > 10 {
			t.Errorf("%s: %d wrong recovery codes were compared within a moment, want 10", name, compared)
		}
	}
}

// Each recovery code signs in once, however it is typed. A new set ends the old one, and the set ends with the last
// second factor.
func TestG17_RecoveryCodes(t *testing.T) {
	rig.Each(t, withPasskeys(), func(t *testing.T, r *rig.Rig) {
		u, secret, codes := withCode(r, "owner@example.com")
		_, _, foreign := withCode(r, "other@example.com")
		typed := []func(string) string{
			func(c string) string { return c },
			strings.ToUpper,
			func(c string) string { return strings.ReplaceAll(c, "-", "") },
			func(c string) string { return " " + strings.ReplaceAll(c, "-", " ") + " " },
			func(c string) string { return strings.ToUpper(strings.ReplaceAll(c, "-", "\u00a0")) },
		}
		refuse := func(name, code string) {
			t.Helper()
			b := r.Browser()
			a := second(b, halfway(b, u.Email), code)
			if a.Status != http.StatusUnauthorized || signedInAs(b) != "" {
				t.Errorf("%s is answered %d %v", name, a.Status, a.Location)
			}
			nextStep(r)
		}
		r.Emails()
		for i, code := range codes {
			b := r.Browser()
			redirects(t, second(b, halfway(b, u.Email), typed[i%len(typed)](code)), "/settings/profile")
			r.Email("methods_changed")
			if i < 2 {
				refuse("a used code", code)
			}
			if left, _, err := r.Store.RecoveryCodesOf(r.System(), u.ID); err != nil || left != int64(9-i) {
				t.Errorf("after %d uses %d are left, %v", i+1, left, err)
			}
		}
		if n := recorded(t, r, "recovery_codes.used", u.ID); n != 10 {
			t.Errorf("%d uses are in the audit log", n)
		}
		refuse("another user's code", foreign[0])
		for name, code := range map[string]string{
			"NUL": "\x00\x00abcdefghij", "not UTF-8": "\xff\xfeabcdefghij", "half a character": "€€€€",
			"a letter that grows": "İİİİİİ", "12 digits": "000000000000", "SQL": "' OR 1=1 -- ",
			"wildcards": "%%%%%%%%%%%%",
		} {
			refuse(name, code)
		}
		b := byCode(r.Browser(), u.Email, otpOf(r, secret, 0))
		older := recoveryOn(b, b.PostForm("/settings/security/recovery-codes", nil))
		newer := recoveryOn(b, b.PostForm("/settings/security/recovery-codes", nil))
		addPasskey(b, authenticator.New())
		refuse("a code of the set before", older[0])
		b = byCode(r.Browser(), u.Email, newer[0])

		// The set stays as long as there is a second factor.
		passkey := passkeys(t, r, u.ID)[0].ID
		sets := func() int { return count(t, r, `SELECT count(*) FROM recovery_codes WHERE user_id = '`+u.ID+`'`) }
		for i, method := range []string{"totp", passkey} {
			redirects(t, b.Confirm("/settings/security/methods/"+method+"/remove", nil), "/settings/security")
			if want := []int{10, 0}[i]; sets() != want {
				t.Errorf("without %s there are %d recovery codes, want %d", method, sets(), want)
			}
		}
		redirects(t, b.PostForm("/settings/security/recovery-codes", nil), "/settings/security")
		if sets() != 0 {
			t.Error("recovery codes without a second factor")
		}
		// A new second factor does not bring the old set back.
		secret, _ = addTOTP(b)
		refuse("a code of a set that ended", newer[1])
		byCode(r.Browser(), u.Email, otpOf(r, secret, 0))
	})
}

// Neither the database nor the log shows a secret of an authenticator app, a recovery code, or a challenge (S-10).
func TestS10_NoSecretOfASecondFactorIsStored(t *testing.T) {
	live := func(t *testing.T, r *rig.Rig) (codes []string) {
		u, owner, a := person(r, "owner@example.com")
		secret, codes := addTOTP(owner)
		raw, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(secret)
		ok(t, err)
		r.Seen.Add("TOTP key", string(raw))
		remember := func(sealed string, options []byte) {
			challenge := challengeIn(t, options)
			r.Seen.Add("challenge", string(challenge))
			r.Seen.Add("challenge", base64.RawURLEncoding.EncodeToString(challenge))
			r.Seen.Add("sealed challenge", sealed)
		}
		b := r.Browser()
		form, options := offeredPasskey(b)
		remember(form.Get("challenge"), options)
		redirects(t, b.PostForm("/login/passkey", with(form, "credential", use(b, a, options))), "/settings/profile")
		form, options = mustForm(b, b.PostForm(newPasskeyPath+"/new", nil), newPasskeyPath)
		remember(form.Get("challenge"), options)
		answer, err := authenticator.New().Create(r.Issuer, options)
		ok(t, err)
		redirects(t, b.PostForm(newPasskeyPath, with(form, "credential", string(answer))), "/settings/security")
		nextStep(r)
		byCode(r.Browser(), u.Email, otpOf(r, secret, 0))
		byCode(r.Browser(), u.Email, codes[0])
		wrong := r.Browser()
		second(wrong, halfway(wrong, u.Email), codes[0])
		r.Advance(10 * time.Minute)
		const action = "/settings/profile/export"
		form, options = mustForm(b, b.PostForm(action, nil), action)
		remember(form.Get("current_challenge"), options)
		if got := b.PostForm(action, with(form, "current_passkey", use(b, a, options))); got.Status != http.StatusOK {
			t.Errorf("the proof is answered %d", got.Status)
		}
		return codes
	}
	check := func(t *testing.T, r *rig.Rig, codes []string, where, text string) {
		t.Helper()
		for _, found := range r.Seen.In(text) {
			t.Errorf("%s: %s", where, found)
		}
		lower := strings.ToLower(text)
		for _, code := range codes {
			if strings.Contains(lower, code) || strings.Contains(lower, strings.ReplaceAll(code, "-", "")) {
				t.Errorf("%s: shows a recovery code", where)
			}
		}
	}
	t.Run("sqlite", func(t *testing.T) {
		link := stores.SQLite(t)
		r := rig.New(t, stores.Open(t, link), withPasskeys())
		codes := live(t, r)
		check(t, r, codes, "log", r.Log.String())
		r.Store.Close()
		text, err := os.ReadFile(strings.TrimPrefix(link, "sqlite:"))
		ok(t, err)
		check(t, r, codes, "file", string(text))
		if !strings.Contains(string(text), "recovery_codes.used") {
			t.Error("the use of a recovery code is not in the file, so that this test proves nothing")
		}
	})
	t.Run("postgresql", func(t *testing.T) {
		link := stores.PostgreSQL(t)
		dump, err := postgres.Binary("pg_dump")
		ok(t, err)
		r := rig.New(t, stores.Open(t, link), withPasskeys())
		codes := live(t, r)
		check(t, r, codes, "log", r.Log.String())
		text, err := program(t, dump, "--dbname="+link, "--inserts").Output()
		ok(t, err)
		check(t, r, codes, "dump", string(text))
		if !strings.Contains(string(text), "recovery_codes.used") {
			t.Error("the use of a recovery code is not in the dump, so that this test proves nothing")
		}
	})
}
