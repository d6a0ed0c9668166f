package postgres

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestWhoCarriesWhat(t *testing.T) {
	const me, other = 7, 3
	for _, test := range []struct {
		name string
		s    standing
		want change
	}{
		{"nobody has it, it is mine", standing{offered: true, preferred: true}, takeIt},
		{"nobody has it, another one should", standing{offered: true}, leaveIt},
		{"nobody has it for long, whoever should have it does not offer it", standing{offered: true, free: time.Second}, takeIt},
		{"nobody has it, it is not offered", standing{free: time.Hour}, leaveIt},
		{"I have it", standing{offered: true, preferred: true, owner: me}, leaveIt},
		{"I have it, another one should", standing{offered: true, owner: me}, leaveIt},
		{"I have it, another one asks", standing{offered: true, owner: me, wanted: other}, leaveIt},
		{"I have it and offer it no more", standing{owner: me}, spareIt},
		{"that is said", standing{owner: me, spare: true}, leaveIt},
		{"I offer it again", standing{offered: true, owner: me, spare: true}, unspareIt},
		{"another one has it, it is mine", standing{offered: true, preferred: true, owner: other}, wantIt},
		{"that is said", standing{offered: true, preferred: true, owner: other, wanted: me}, leaveIt},
		{"somebody else asks for it, too", standing{offered: true, preferred: true, owner: other, wanted: 9}, wantIt},
		{"another one has it since just now", standing{offered: true, preferred: true, owner: other, fresh: true}, leaveIt},
		{"another one would rather not have it", standing{offered: true, owner: other, spare: true, fresh: true}, wantIt},
		{"and somebody else asks for it", standing{offered: true, owner: other, spare: true, wanted: 9}, leaveIt},
		{"I asked, and it is not mine any more", standing{offered: true, owner: other, wanted: me}, unwantIt},
		{"I asked, and do not offer it any more", standing{preferred: true, owner: other, wanted: me}, unwantIt},
		{"another one has it", standing{offered: true, owner: other}, leaveIt},
		{"it does not concern me", standing{owner: other}, leaveIt},
	} {
		if got := test.s.judge(me, time.Second); got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
}

// TestSharing: those who offer a region share what is of it; what is of none all share.
func TestSharing(t *testing.T) {
	members := []member{
		{number: 1, id: "a", offers: true, regions: []string{"eu"}},
		{number: 2, id: "b", offers: true, regions: []string{"eu", "us"}},
		{number: 3, id: "c", offers: true, dead: true, regions: []string{"eu", "us", "asia"}},
		{number: 4, id: "d", regions: []string{"asia"}},
	}
	var s sharing
	s.renew(members)
	got := make(map[string][]string)
	for _, region := range []string{"", "eu", "us", "asia"} {
		for i := range 200 {
			if id := s.of(fmt.Sprint("subscription", i), region, 16, members); !slices.Contains(got[region], id) {
				got[region] = append(got[region], id)
			}
		}
		slices.Sort(got[region])
	}
	for region, want := range map[string][]string{"": {"a", "b"}, "eu": {"a", "b"}, "us": {"b"}, "asia": {""}} {
		if !slices.Equal(got[region], want) {
			t.Errorf("region %q is shared by %q, want %q", region, got[region], want)
		}
	}
	members[2].dead = false
	s.renew(members)
	if id := s.of("crm", "asia", 16, members); id != "c" {
		t.Errorf("a member that is back gets nothing: %q", id)
	}
}
