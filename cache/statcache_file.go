package cache

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
)

// A table's file is the line below; the CRC-32C of the rest, 4 bytes; the
// directory, behind its length; the number of records; and the records, as
// encode writes them. Numbers are varints, or little-endian if of fixed length.
const statMagic = "bottlebuild-stat 1\n"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (t *StatTable) encode() []byte {
	b := make([]byte, 0, len(t.records)*160+1024)
	b = append(b, statMagic...)
	b = append(b, 0, 0, 0, 0)
	text := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	text(t.dir)
	for p, r := range t.records {
		if r.seen+statDays < t.today {
			continue
		}
		text(p)
		b = binary.AppendUvarint(b, uint64(r.Size))
		b = binary.LittleEndian.AppendUint64(b, uint64(r.MTime))
		b = binary.LittleEndian.AppendUint64(b, uint64(r.CTime))
		b = binary.AppendUvarint(b, r.Dev)
		b = binary.AppendUvarint(b, r.Ino)
		b = binary.AppendUvarint(b, uint64(r.Mode))
		b = binary.AppendUvarint(b, uint64(r.seen))
		b = append(b, r.Digest[:]...)
		text(r.Extra)
	}
	sum := crc32.Checksum(b[len(statMagic)+4:], castagnoli)
	binary.LittleEndian.PutUint32(b[len(statMagic):], sum)
	return b
}

// smallestRecord is the least number of bytes that a record takes.
const smallestRecord = 1 + 1 + 8 + 8 + 4 + len(Digest{}) + 1

func (t *StatTable) decode(b []byte) error {
	if len(b) < len(statMagic)+4 || string(b[:len(statMagic)]) != statMagic {
		return fmt.Errorf("%w: it does not start as a stat table does", ErrDamaged)
	}
	sum, b := binary.LittleEndian.Uint32(b[len(statMagic):]), b[len(statMagic)+4:]
	if crc32.Checksum(b, castagnoli) != sum {
		return fmt.Errorf("%w: its checksum does not match", ErrDamaged)
	}
	d := &statDecoder{rest: string(b)}
	if dir := d.text(maxStatPath); dir != t.dir {
		return fmt.Errorf("%w: it is of directory %.200q", ErrDamaged, dir)
	}
	// One array for all, sized as if records were short, is one allocation.
	estimate := min(len(d.rest)/smallestRecord, maxStatRecords)
	t.records = make(map[string]*StatRecord, estimate/2)
	records := make([]StatRecord, 0, estimate/2)
	for len(d.rest) > 0 && !d.bad {
		records = append(records, StatRecord{})
		r := &records[len(records)-1]
		name := d.text(maxStatPath)
		r.Size = int64(d.number(math.MaxInt64))
		r.MTime = d.time()
		r.CTime = d.time()
		r.Dev = d.number(math.MaxUint64)
		r.Ino = d.number(math.MaxUint64)
		r.Mode = uint32(d.number(math.MaxUint32))
		r.seen = uint32(d.number(math.MaxUint32))
		copy(r.Digest[:], d.take(len(r.Digest)))
		r.Extra = d.text(16 * maxStatPath)
		t.records[name] = r
		if len(t.records) > maxStatRecords {
			d.bad = true
		}
	}
	if d.bad {
		return fmt.Errorf("%w: a record is not whole", ErrDamaged)
	}
	return nil
}

// statDecoder takes values off the front of rest. After the first that is not
// there, bad is set and every value is zero.
type statDecoder struct {
	rest string
	bad  bool
}

func (d *statDecoder) take(n int) string {
	if d.bad || n > len(d.rest) {
		d.bad = true
		return ""
	}
	s := d.rest[:n]
	d.rest = d.rest[n:]
	return s
}

func (d *statDecoder) text(limit int) string { return d.take(int(d.number(uint64(limit)))) }

func (d *statDecoder) time() int64 {
	var b [8]byte
	copy(b[:], d.take(len(b)))
	return int64(binary.LittleEndian.Uint64(b[:]))
}

func (d *statDecoder) number(limit uint64) uint64 {
	var n uint64
	for shift := 0; shift < 64; shift += 7 {
		c := d.take(1)
		if d.bad {
			return 0
		}
		n |= uint64(c[0]&0x7f) << shift
		if c[0] < 0x80 {
			if n > limit {
				d.bad = true
				return 0
			}
			return n
		}
	}
	d.bad = true
	return 0
}
