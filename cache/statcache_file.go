package cache

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"strings"
)

// A table's file is the line below; the CRC-32C of the rest, 4 bytes; the
// directory, behind its length; the number of records; and the records, as
// encode writes them. Numbers are varints, or little-endian if of fixed length.
const statMagic = "bottlebuild-stat 2\n"

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
	count := 0
	for _, r := range t.records {
		if t.inUse(r) {
			count++
		}
	}
	b = binary.AppendUvarint(b, uint64(count))
	for p, r := range t.records {
		if !t.inUse(r) {
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

// inUse reports whether the record was used lately enough to be kept.
func (t *StatTable) inUse(r *StatRecord) bool { return r.seen+statDays >= t.today }

// decode reads the records of a file of size bytes.
func (t *StatTable) decode(r io.Reader, size int64) error {
	head := make([]byte, len(statMagic)+4)
	if _, err := io.ReadFull(r, head); err != nil || string(head[:len(statMagic)]) != statMagic {
		return fmt.Errorf("%w: it does not start as a stat table does", ErrDamaged)
	}
	var body strings.Builder // what the records hold refers to it
	body.Grow(int(size))
	sum := crc32.New(castagnoli)
	if _, err := io.Copy(io.MultiWriter(&body, sum), io.LimitReader(r, size)); err != nil {
		return err
	}
	if sum.Sum32() != binary.LittleEndian.Uint32(head[len(statMagic):]) {
		return fmt.Errorf("%w: its checksum does not match", ErrDamaged)
	}
	d := &statDecoder{rest: body.String()}
	if dir := d.text(maxStatPath); dir != t.dir {
		return fmt.Errorf("%w: it is of directory %.200q", ErrDamaged, dir)
	}
	count := int(d.number(maxStatRecords))
	if count > len(d.rest)/smallestRecord {
		return fmt.Errorf("%w: it says that it has %d records", ErrDamaged, count)
	}
	t.records = make(map[string]*StatRecord, count)
	records := make([]StatRecord, count) // one allocation for all
	for i := range records {
		r := &records[i]
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
	}
	if d.bad || d.rest != "" || len(t.records) != count {
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
