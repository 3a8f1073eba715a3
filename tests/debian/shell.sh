# Debian's own programs, each at something it is used for: run by bash in the guest, with the packages in the image.
#
# `check NAME EXPECTED` compares what a command prints (standard input of `check`) with what it must print.

passed=0
failed=0
check() {
	local name=$1 expected=$2 printed
	printed=$(cat)
	if [[ $printed == "$expected" ]]; then
		passed=$((passed + 1))
		echo "ok $name"
	else
		failed=$((failed + 1))
		echo "not ok $name: printed '$printed', wanted '$expected'"
	fi
}

work=$(mktemp -d)
cd "$work" || exit 1
export LC_ALL=C TZ=UTC0
seq 1000 >numbers

# bash
check "bash: arrays and arithmetic" "3 b 49" < <(a=(a b c); echo "${#a[@]} ${a[1]} $((7 ** 2))")
check "bash: process substitution" "a b" < <(paste -d ' ' <(echo a) <(echo b))
check "bash: pipe status" "0 1 0" < <(true | false | true; echo "${PIPESTATUS[@]}")
check "bash: trap and wait" "caught" < <(trap 'echo caught; exit' USR1; kill -USR1 $BASHPID; sleep 10)
check "bash: background jobs" "0 7" < <(true & first=$!; (exit 7) & second=$!; wait $first; one=$?; wait $second; echo "$one $?")
check "bash: here document" "x 1000" < <(cat <<-END
	x $(wc -l <numbers)
	END
)

# dash
check "dash: loop and trap" "1 2 3 bye" < <(dash -c 'trap "echo bye" EXIT; for i in 1 2 3; do printf "%s " $i; done')

# coreutils
check "sort, uniq, tr" "3 a" < <(printf 'b\na\na\nc\na\n' | sort | uniq -c | sort -rn | head -n 1 | tr -s ' ' | sed 's/^ //')
check "sha256sum" "67d4ff71d43921d5739f387da09746f405e425b07d727e4c69d029461d1f051f" < <(sha256sum numbers | cut -d ' ' -f 1)
check "split and cat" "same" < <(split -n 3 numbers part. && cat part.* | cmp - numbers && echo same)
check "cp -a and diff -r" "same" < <(mkdir -p tree/a; cp numbers tree/a; ln -s a tree/b; cp -a tree copy; diff -r tree copy && echo same)
check "timeout" "124" < <(timeout 0.2 sleep 10; echo $?)
check "mkfifo" "through" < <(mkfifo fifo; (echo through >fifo &); cat fifo)
check "dd" "65536" < <(dd if=/dev/zero of=zeros bs=4k count=16 status=none; stat -c %s zeros)
check "truncate and du" "1048576 0" < <(truncate -s 1M sparse; echo "$(stat -c %s sparse) $(du sparse | cut -f 1)")
check "touch and date" "2010-01-02" < <(touch -d '2010-01-02 03:04:05' old; date -r old +%F)
check "tail follows" "one two" < <(echo one >grows; (sleep 0.3; echo two >>grows) & timeout 2 tail -n +1 -f --pid=$! grows 2>/dev/null | tr '\n' ' ' | sed 's/ $//')
check "chmod, test, id" "755 0 root" < <(touch x; chmod 755 x; echo "$(stat -c %a x) $(id -u) $(id -un)")
check "factor, numfmt, printf" "97: 97 1.0K 0x2a" < <(echo "$(factor 97) $(numfmt --to=iec 1024) $(/usr/bin/printf '%#x' 42)")
check "env and nohup" "v" < <(env -i NAME=v nohup printenv NAME 2>/dev/null)

# text
check "grep" "c33" < <(printf 'a1\nb2\nc33\n' | grep -E '[0-9]{2}')
check "grep -P" "foo" < <(echo foo | grep -oP 'fo+(?=$)')
check "gawk" "500500 1970" < <(gawk '{ sum += $1 } END { print sum, strftime("%Y", 0, 1) }' numbers)
check "gawk: two-way pipe" "b a" < <(gawk 'BEGIN { c = "sort -r"; print "a" |& c; print "b" |& c; close(c, "to"); while ((c |& getline x) > 0) printf "%s ", x }' | sed 's/ $//')
check "sed" ">heLo" < <(echo hello | sed -E 's/l+/L/; s/^/>/')
check "sed in place" "1000" < <(cp numbers n; sed -i '1d;$a1000' n; tail -n 1 n)

# archives
check "tar and gzip" "same" < <(tar czf t.tgz tree; mkdir out; tar xzf t.tgz -C out; diff -r tree out/tree && echo same)
check "tar and xz" "same" < <(tar cJf t.txz tree; mkdir out2; tar xJf t.txz -C out2; diff -r tree out2/tree && echo same)
check "gzip keeps the length" "3893" < <(gzip -k numbers; zcat numbers.gz | wc -c)
check "gzip finds damage" "1" < <(head -c 500 numbers.gz | gzip -t 2>/dev/null; echo $?)
check "xz with threads" "1000" < <(xz -k -T 2 numbers; xz -dc numbers.xz | wc -l)

# procps
check "ps" "bash" < <(ps -o comm= -p $$)
check "ps -ef counts" "yes" < <((($(ps -ef | wc -l) >= 4)) && echo yes)
check "top" "1 Tasks:" < <(top -b -n 1 | grep -o -m 1 Tasks: | uniq -c | sed 's/^ *//')
check "free" "Mem:" < <(free | gawk 'NR == 2 && $2 > 100000 { print $1 }')
check "vmstat" "3" < <(vmstat | wc -l)
check "pgrep and pkill" "0 1" < <(sleep 4321 & pkill -f 'sleep 4321'; first=$?; wait $! 2>/dev/null; pgrep -f 'sleep 4321' >/dev/null; echo "$first $?")

# lua5.4
check "lua" "1000000 popen" < <(lua5.4 -e 'local t = {} for i = 1, 1000 do t[i] = i * i end io.write(t[1000], " ", io.popen("echo popen"):read("a"))')

# sqlite3: a journal that several connections share by memory
cat >create.sql <<'END'
PRAGMA journal_mode=WAL;
CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT);
END
for i in $(seq 10000); do echo "INSERT INTO t(b) VALUES('row $i');"; done >insert.sql
check "sqlite3: write-ahead log" "wal" < <(sqlite3 t.db <create.sql)
check "sqlite3: 10,000 inserts" "10000|50005000" < <({ echo 'BEGIN;'; head -n 9000 insert.sql; echo 'COMMIT;'; tail -n 1000 insert.sql; } | sqlite3 t.db; sqlite3 t.db 'SELECT count(*), sum(a) FROM t;')
check "sqlite3: two writers" "12000 ok" < <(for w in 1 2; do head -n 1000 insert.sql | sqlite3 -cmd '.timeout 60000' t.db & done; wait; echo "$(sqlite3 t.db 'SELECT count(*) FROM t;') $(sqlite3 t.db 'PRAGMA integrity_check;')")

echo "$passed passed, $failed failed"
((failed == 0))
