#!/bin/busybox sh
# The applet suite: what BusyBox prints here must be, byte for byte, what it prints on Linux.
#
# Run in the guest as `/bin/busybox sh applets.sh`; writes everything to standard output. Each case is a line `## N name`,
# the case's output (standard error with it), and a line `== status`, so that a difference points at its case. Nothing that is
# printed depends on process ids, the time of day, inode numbers, the kernel's version or the order of a directory.
# `applets.sh N...` runs only those cases.

busybox=${BUSYBOX:-/bin/busybox}
work=/tmp/applets-work
number=0
chosen=" $* "
export LC_ALL=C TZ=UTC0 HOME=/tmp
umask 022

$busybox rm -rf $work
$busybox mkdir -p $work/bin || exit 1
for applet in $($busybox --list); do
	$busybox ln -s "$busybox" "$work/bin/$applet"
done
PATH=$work/bin
export PATH
# Some applets run a command line of their own by /bin/sh.
[ -e /bin/sh ] || ln -s busybox /bin/sh
# Linux leaves these links to a device manager.
[ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd
[ -e /dev/stdin ] || ln -s /proc/self/fd/0 /dev/stdin
[ -e /dev/stdout ] || ln -s /proc/self/fd/1 /dev/stdout

# t NAME: runs the script on standard input in a fresh directory and a subshell, its output in a file, so that no applet
# asks how wide the console is.
t() {
	number=$((number + 1))
	script=$(cat)
	if [ "$chosen" != "  " ]; then
		case "$chosen" in *" $number "*) ;; *) return ;; esac
	fi
	echo "## $number $1"
	mkdir -p $work/case
	(
		cd $work/case || exit 99
		eval "$script"
	) </dev/null >>$work/output 2>&1
	status=$?
	cat $work/output
	echo "== $status"
	rm $work/output
	rm -rf $work/case
}

# words FILE: a small text that many cases share.
words() {
	printf '%s\n' pear apple fig banana apple cherry 10 9 100 fig >"$1"
}

# The shell itself.
t arithmetic <<'END'
echo $((1 + 2 * 3)) $((7 / 2)) $((-7 % 3)) $((1 << 20)) $((0x1f ^ 3)) $((5 > 3 && 2 < 1)) $((010)) $(( (2 + 3) * 4 ))
x=5; echo $((x++)) $((++x)) $((x -= 3)) $x $((x ? 10 : 20))
END
t division-by-zero <<'END'
(echo $((1 / 0))); echo "after $?"
END
t for-loop <<'END'
for i in a b "c d"; do echo "<$i>"; done
for i; do echo never; done
END
t while-until <<'END'
i=0; while [ $i -lt 5 ]; do i=$((i + 1)); [ $i = 3 ] && continue; echo $i; done
until [ $i -le 2 ]; do i=$((i - 1)); [ $i = 3 ] && break; done; echo $i
END
t functions <<'END'
f() { local a=$1; shift; echo "$a:$#:$*"; [ $# -gt 0 ] && f "$@"; return 4; }
f one two three; echo $?
END
t recursion <<'END'
fib() { if [ $1 -lt 2 ]; then echo $1; else echo $(($(fib $(($1 - 1))) + $(fib $(($1 - 2))))); fi; }
fib 9
END
t case-patterns <<'END'
for w in apple Banana 42 '' 'a*b'; do
case $w in a\*b) echo star ;; [a-z]*) echo lower ;; [A-Z]*|X) echo upper ;; [0-9]*) echo digit ;; '') echo empty ;; esac
done
END
t here-document <<'END'
v=value
cat <<A
expanded $v $((2 + 2)) $(echo sub)
A
cat <<'A'
literal $v
A
cat <<-A
	tabs go
A
END
t subshell <<'END'
x=1; (x=2; cd /; pwd; exit 3); echo "$? $x"; pwd | sed 's,.*/,,'
{ x=5; }; echo $x
END
t background-and-wait <<'END'
(sleep 0.2; echo slow; exit 5) & first=$!
(echo fast; exit 6) & second=$!
wait $second; echo "second $?"; wait $first; echo "first $?"
END
t jobs-in-parallel <<'END'
for i in 1 2 3 4 5 6 7 8; do (sleep 0.1; echo $i >out.$i) & done; wait; cat out.*
END
t wait-for-signalled <<'END'
sleep 30 & p=$!; kill -TERM $p; wait $p; echo $?
sleep 30 & p=$!; kill -KILL $p; wait $p; echo $?
END
t pipeline-of-five <<'END'
seq 1 1000 | grep 7 | sed 's/7/x/' | sort -r | head -n 5
END
t pipeline-of-eight <<'END'
seq 1 20000 | cat | cat | tr 0-9 a-j | sort | uniq | tail -n 1 | wc -c
END
t pipeline-status <<'END'
false | true; echo $?; true | false; echo $?; ! true; echo $?
set -o pipefail; false | true; echo $?
END
t broken-pipe <<'END'
(yes; echo "never $?") | head -n 2
(trap '' PIPE; yes 2>/dev/null; echo "status $?" >&2) | head -n 1
END
t trap-exit <<'END'
(trap 'echo bye $?' EXIT; echo in; exit 9); echo $?
END
t trap-signals <<'END'
sh -c 'trap "echo got USR1" USR1; trap "echo got TERM; exit 3" TERM; kill -USR1 $$; echo between; kill -TERM $$; echo never'; echo $?
END
t trap-while-waiting <<'END'
sh -c 'trap "echo alarm" USR1; (sleep 0.2; kill -USR1 $$) & wait; echo waited $(($? > 128)); wait'
END
t trap-ignore-inherited <<'END'
(trap '' INT; sh -c 'kill -INT $$; echo survived'); sh -c 'kill -INT $$; echo never'; echo $?
END
t redirections <<'END'
echo one >f; echo two >>f; cat <f; { echo out; echo err >&2; } >g 2>&1; cat g
exec 5>h; echo five >&5; exec 5>&-; cat h; echo no >&5
cat <f 3<&0 <g 4>&1 >/dev/null
echo swapped 3>&1 1>&2 2>&3
END
t noclobber <<'END'
set -C; echo a >f; echo b >f; echo $?; echo c >|f; cat f
END
t read-write-descriptor <<'END'
printf 'line1\nline2\nline3\n' >f; exec 3<>f; read a <&3; read b <&3; echo "$a,$b"; echo LAST >&3; cat f
END
t getopts <<'END'
set -- -a -b val -c file; while getopts ab:c o; do echo "$o=$OPTARG"; done; shift $((OPTIND - 1)); echo "rest $*"
set -- -z; OPTIND=1; while getopts ab:c o; do echo "o=$o"; done
END
t parameter-expansion <<'END'
p=/usr/local/lib/file.tar.gz; u=
echo ${p##*/} ${p%.*} ${p%%.*} ${p#/usr} ${#p} ${u:-default} ${u:+set} ${p:5:5} ${p/local/LOCAL} ${p//l/L}
echo ${u:=assigned} $u; (echo ${missing?not set}); echo $?
END
t quoting <<'END'
set -- 'a b' c; printf '<%s>' "$@"; echo; printf '<%s>' $*; echo; printf '<%s>' "$*"; echo; IFS=,; echo "$*"
echo "tab	\$ \" \\ `echo back`" 'single $x'
END
t field-splitting <<'END'
IFS=:; v=a::b:c; printf '<%s>' $v; echo; IFS=' '; v='  x   y '; printf '<%s>' $v; echo
END
t globbing <<'END'
touch a1 a2 b1 .hidden 'sp ace'; echo *; echo a?; echo [!a]*; echo .h*; echo nothing*; set -f; echo *
END
t read-builtin <<'END'
printf 'one two three\nfour\\\nfive\n' | { read a b; echo "$a|$b"; read -r c; echo "$c"; }
echo 'a:b:c' | (IFS=: read x y z; echo $z$y$x)
while read n w; do echo "$w-$n"; done <<A
1 x
2 y
A
END
t command-substitution <<'END'
v=$(printf 'a\nb\n\n\n'); echo "[$v]"; echo $(echo $(echo nested)); v=$(false); echo $?
END
t set-options <<'END'
sh -c 'set -e; echo a; false; echo never'; echo $?; sh -c 'set -u; echo $nope; echo never'; echo $?
sh -xc 'x=1; echo $x'; sh -nc 'echo never'; echo $?
END
t eval-and-dot <<'END'
eval 'x=3; echo $((x * x))'; echo 'y=7; return 2' >lib.sh; . ./lib.sh; echo "$? $y"
END
t exec-builtin <<'END'
(exec echo replaced; echo never); sh -c 'exec /nonexistent'; echo $?
END
t not-found-and-not-executable <<'END'
nosuchcommand; echo $?; echo text >plain; ./plain; echo $?; ./; echo $?; mkdir d; ./d; echo $?
END
t script-with-interpreter <<'END'
printf '#!/bin/busybox sh\necho "$0 $# $1"\nexit 5\n' >s; chmod +x s; ./s a b; echo $?
printf '#!/nonexistent/interpreter\n' >bad; chmod +x bad; ./bad; echo $?
END
t script-without-interpreter <<'END'
printf 'echo no first line $1\n' >s; chmod +x s; ./s ok
END
t umask-and-modes <<'END'
umask 077; touch f; mkdir d; stat -c '%a %n' f d; umask 022; touch g; stat -c '%a %n' g; umask; umask -S
END
t ulimit <<'END'
ulimit -n 64; ulimit -n; (ulimit -f 8; dd if=/dev/zero of=big bs=512 count=1000 2>/dev/null; echo $?); stat -c %s big
END
t alias-type-command <<'END'
type cd | head -n 1; command -v echo; hash; command echo via command
END
t times-and-seconds <<'END'
s=$SECONDS; [ $((SECONDS - s)) -lt 5 ] && echo quick; times | wc -l
END
t long-argument-list <<'END'
set -- $(seq 1 5000); echo $# ${5000}; echo "$@" | wc -c; env echo "$@" | md5sum
END
t big-environment <<'END'
i=0; while [ $i -lt 200 ]; do export V$i=$i$i$i; i=$((i + 1)); done; env | grep -c '^V[0-9]*='; sh -c 'echo $V199'
END
t deep-subshells <<'END'
(((((((((echo deep; exit 3))))))))); echo $?; sh -c "sh -c \"sh -c 'echo nested \$((1 + 1))'\""
END
t many-forks <<'END'
i=0; while [ $i -lt 150 ]; do /bin/busybox true || echo failed; i=$((i + 1)); done; echo $i
END
t co-operating-fifo <<'END'
mkfifo p; (for i in 1 2 3; do echo "line $i"; done >p) & while read l; do echo "got $l"; done <p; wait; test -p p; echo $?
END
t fifo-both-ways <<'END'
mkfifo q r; (while read x; do echo $((x * x)); done <q >r) & exec 3>q 4<r; for i in 2 3 12; do echo $i >&3; read y <&4; echo $y; done; exec 3>&-; wait
END

# Text.
t cat <<'END'
printf 'a\tb\n\n\nc\001\n' >f; cat -n f; cat -vet f; cat f f | wc -l; echo x | cat f - | tail -n 1; cat nosuch; echo $?
END
t tac-rev-nl <<'END'
printf '1\n2\n\nthree\n' >f; tac f; rev f; nl f; nl -b a f
END
t head-tail <<'END'
seq 1 30 >f; head -n 3 f; head -c 5 f; echo; tail -n 2 f; tail -n +28 f; tail -c 6 f; head -n -27 f; head -n 1 f f
END
t tail-follow <<'END'
echo first >f; (sleep 0.3; echo second >>f) & timeout 2 tail -f f; echo $?
END
t wc <<'END'
printf 'one two\nthree\n' >f; wc f; wc -l f; wc -w <f; wc -c f f; wc -L f
END
t cut <<'END'
printf 'a:b:c\nd:e:f\n' >f; cut -d: -f2 f; cut -d: -f1,3 f; cut -c2-3 f; cut -b1 f; echo none | cut -d: -f2 -s
END
t paste <<'END'
seq 1 3 >a; seq 4 6 >b; paste a b; paste -d, a b; paste -s -d+ a
END
t sort <<'END'
words f; sort f; sort -u f; sort -r f | head -n 2; sort -n f | tail -n 3
END
t sort-keys <<'END'
printf 'b 3 x\na 20 y\nc 3 a\n' >f; sort -k2n f; sort -k2,2n -k3,3 f; sort -t' ' -k3 f; sort -c f; echo $?; sort -o f f; cat f
END
t sort-large <<'END'
seq 1 30000 | awk '{ print ($1 * 7919) % 30011 }' | sort -n | md5sum
seq 1 30000 | awk '{ print ($1 * 7919) % 30011 }' | sort | md5sum
END
t sort-human-version-month <<'END'
printf '1K\n2M\n512\n' | sort -h; printf 'v1.10\nv1.9\nv1.2\n' | sort -V; printf 'MAR\nJAN\nDEC\n' | sort -M; printf 'a\0c\0b\0' | sort -z | tr '\0' ' '; echo
END
t uniq <<'END'
printf 'a\na\nb\nc\nc\nc\nA\n' >f; uniq f; uniq -c f; uniq -d f; uniq -u f; uniq -i f; printf 'x 1\ny 1\n' | uniq -f 1
END
t tr <<'END'
echo 'Hello World' | tr a-z A-Z; echo 'aabbcc' | tr -s a-c; echo 'a1b2' | tr -d 0-9; echo 'a b' | tr ' ' '\n'; echo abc123 | tr -c 'a-z\n' '*'; echo x | tr '[:lower:]' '[:upper:]'
END
t fold <<'END'
echo 'abcdefghijklmnopqrstuvwxyz' | fold -w 10; echo 'the quick brown fox jumps' | fold -s -w 12
END
t expand-unexpand <<'END'
printf 'a\tb\tc\n' | expand | cat -A; printf 'a\tb\n' | expand -t 4 | cat -A; printf '        x\n' | unexpand | cat -A
END
t grep <<'END'
words f; grep an f; grep -v p f; grep -c apple f; grep -n fig f; grep -i APPLE f; grep -l pear f /dev/null; grep -q nosuch f; echo $?
END
t grep-expressions <<'END'
words f; grep -E '^(pear|fig)$' f; grep -E '[0-9]{2,}' f; grep -F 'a' f | wc -l; grep -o 'an' f; grep -w 10 f; grep -x 9 f; egrep 'h.*y' f; fgrep . f; echo $?
END
t grep-recursive-context <<'END'
mkdir -p d/e; echo needle >d/e/x; seq 1 9 >d/y; grep -r needle d; grep -A 1 -B 1 5 d/y; grep -m 2 '' d/y; grep -s x nosuch; echo $?; grep -h 9 d/y d/y; echo a | grep -f d/y; echo $?
END
t sed-basic <<'END'
words f; sed 's/a/A/' f | head -n 3; sed 's/a/A/g;2d' f | head -n 2; sed -n '2,4p' f; sed '$!d' f; sed -n '/fig/=' f; sed 3q f
END
t sed-advanced <<'END'
seq 1 6 >f; sed -n 'n;p' f; sed 'N;s/\n/-/' f; sed -n '1!G;h;$p' f; sed '2i\inserted' f | head -n 3; sed '1a after' f | head -n 2; sed '3c changed' f | sed -n 3p; sed 'y/123/abc/' f | head -n 3
sed -E 's/([0-9])/<\1>/; s/<3>/three/' f; sed ':a;N;$!ba;s/\n/,/g' f; sed -n '/2/,/4/p' f; sed '/3/!s/^/x/' f
END
t sed-in-place <<'END'
echo 'old text' >f; chmod 640 f; sed -i 's/old/new/' f; cat f; stat -c %a f; sed -i.bak 's/new/newer/' f; cat f f.bak; sed -n 'w out' f; cat out; sed -f - f <<A
s/text/script/
A
END
t awk-basic <<'END'
printf 'a 1\nb 2\nc 3\n' >f; awk '{ print $2, $1 }' f; awk '{ s += $2 } END { print s, NR, s / NR }' f; awk '$2 > 1' f; awk -F: '{ print NF }' f; awk -v x=5 'BEGIN { print x * 2; exit 3 }'; echo $?
END
t awk-functions <<'END'
awk 'function f(n) { return n < 2 ? n : f(n - 1) + f(n - 2) } BEGIN { print f(15); printf "%05.2f|%-5s|%5s|%x|%c|%e\n", 3.14159, "ab", "cd", 255, 65, 12345.678 }'
awk 'BEGIN { s = "hello world"; print length(s), substr(s, 7), index(s, "wor"), toupper(s), tolower("ABC"); gsub(/o/, "0", s); print s; n = split("a:b:c", p, ":"); print n, p[3]; print match("xyzabc", /[a-c]+/), RSTART, RLENGTH }'
END
t awk-arrays <<'END'
words f; awk '{ c[$1]++ } END { for (w in c) print c[w], w }' f | sort; awk 'BEGIN { a[1, 2] = 3; for (k in a) { split(k, p, SUBSEP); print p[1], p[2], a[k] } if (!((3, 4) in a)) print "no"; delete a; print length(a) }'
END
t awk-arithmetic <<'END'
awk 'BEGIN { print 7 % 3, -7 % 3, 1e3, 0.1 + 0.2, int(3.9), 10 / 3; print 1 == 1.0, "a" < "b", "10" < "9", 10 < 9, !0, 3 " " 4 }'
END
t awk-input-output <<'END'
seq 1 5 >f; awk 'NR == 2 { getline; print "got " $0; next } { print > "out" } END { close("out"); while ((getline l < "out") > 0) print "out " l; "echo cmd" | getline x; print x; print "piped" | "cat"; close("cat"); system("echo system; exit 3") }' f
END
t awk-records <<'END'
printf 'a b\nc\n\nd e\nf\n' | awk 'BEGIN { RS = ""; FS = "\n" } { print NR ": " $1 " / " $NF }'; printf '1,2;3,4' | awk 'BEGIN { RS = ";"; FS = ","; OFS = "-" } { $1 = $1; print }'; awk 'BEGIN { printf "%s %s\n", ENVIRON["TZ"], ARGC }'
END
t diff <<'END'
seq 1 8 >a; sed '3d;5s/5/five/' a >b; echo tail >>b; diff a b; echo $?; diff a a; echo $?; diff -q a b; diff -w a b | wc -l
END
t diff-unified-and-directories <<'END'
mkdir x y; seq 1 12 >x/f; sed 6d x/f >y/f; echo only >x/o; diff -U 1 x/f y/f | sed 1,2d; diff -rq x y; echo $?; diff -N x/nosuch y/f -L one -L two | head -n 4
END
t patch <<'END'
seq 1 20 >a; sed '3s/3/three/;15d' a >b; diff -u -L a -L a a b >p; cp a c; patch c <p; cmp b c; echo $?; patch -R c <p; cmp a c; echo $?; echo junk >d; patch d <p; echo $?
END
t cmp <<'END'
echo abcdef >a; echo abcxef >b; cmp a b; echo $?; cmp -s a b; echo $?; cmp -l a b; cmp a a; echo $?; printf abc >c; cmp a c; echo $?
END
t strings-od <<'END'
printf 'text here\000\001\002more text\377' >f; strings f; strings -n 10 f; od f 2>/dev/null || hexdump -b f
END
t hexdump <<'END'
printf 'Hello, world! 0123456789\n' >f; hexdump f; hexdump -C f; hexdump -c -n 8 f; hexdump -e '4/1 "%02x " "\n"' f; hexdump -s 7 -n 5 -C f
END
t xxd <<'END'
printf 'Hello, world!\n\001\377' >f; xxd f; xxd -p f; xxd -p f | xxd -r -p | cmp - f; echo $?; xxd -g 1 -c 8 -l 12 f
END
t base64-uuencode <<'END'
seq 1 30 >f; base64 f; base64 f | base64 -d | cmp - f; echo $?; uuencode f name | head -n 3; uuencode -m f name | uudecode -o g; cmp f g; echo $?
END
t dos2unix <<'END'
printf 'a\r\nb\r\n' >f; dos2unix f; od -c f 2>/dev/null || hexdump -c f; unix2dos f; hexdump -c f
END
t ed <<'END'
printf 'one\ntwo\nthree\n' >f; printf '2d\n1a\ninserted\n.\n1,$s/e/E/g\n,p\nw\nq\n' | ed f; cat f
END
t printf-and-echo <<'END'
printf '%d %i %o %x %X %#x %5d|%-5d|%05d %+d\n' 10 11 8 255 255 255 42 42 42 42; printf '%s|%10s|%-10s|%.2s\n' abc abc abc abc; printf '%c%c\n' hello world; printf '%b\n' 'tab\tx\101'; printf '%.3f %e %g\n' 3.14159 31415.9 0.0001; printf '%s-%s\n' a b c; printf '%d\n' "'A" 0x1f 017; printf '%%\n'; echo -n no newline; echo -e '\nx\ty\c never'; echo; printf '%d\n' zz; echo $?
END
t seq <<'END'
seq 3; seq 2 4; seq 10 -3 1; seq -s, 1 5; seq -w 8 11; seq 0.5 0.5 2; seq 5 1; echo $?
END
t expr <<'END'
expr 2 + 3 \* 4; expr 10 / 3; expr 10 % 3; expr abc : 'a\(.*\)'; expr length hello; expr substr hello 2 3; expr index hello l; expr 1 '<' 2; expr 0; echo $?; expr a = b; echo $?; expr 1 +; echo $?
END
t test <<'END'
touch f; mkdir d; ln -s f l; chmod 000 f
for e in '-f f' '-d d' '-L l' '-e nosuch' '-s f' '! -e nosuch' 'a = a' 'a != a' '1 -lt 2' '2 -le 1' '-n x' '-z x' '-p f' '-b f' '-c /dev/null' '( a = a -a b = b )' 'a = b -o c = c' '-h l' '-x f' '-u f' '-k d'; do test $e; echo "$e: $?"; done; [ f -ef l ]; echo $?; [ a -eq 1 ]; echo $?; touch -d '2001-01-01' o; touch n; [ n -nt o ]; echo $?; [ n -ot o ]; echo $?
END
t bc <<'END'
echo '2^64; 10/3; scale=10; 10/3; sqrt(2); 5%3; (1+2)*3; -7/2' | bc; echo 'obase=16; 255; ibase=2; 1010' | bc; printf 'define f(n) {\nif (n < 2) return (n);\nreturn (f(n-1) + f(n-2));\n}\nf(15)\n' | bc
echo 'for (i = 0; i < 3; i++) { i }; while (i < 5) { i; i = i + 1 }; "text"' | bc; echo; echo 'scale=30; 4*a(1); e(1); s(1); l(10)' | bc -l
END
t bc-large <<'END'
echo '2^4000 % 1000000007; 3^300' | bc | tr -d '\\\n'; echo; echo 'a=1; for (i = 1; i <= 60; ++i) a *= i; a' | bc | tr -d '\\\n'; echo
END
t dc <<'END'
echo '2 3 + p 4 * p 10 3 / p 20 k 2 v p' | dc; echo '16 o 255 p 2 i 1010 p' | dc; echo '[la 1 + d sa p 5 >x] sx 0 sa lx x' | dc; echo '5 d * p c 1 2 3 f' | dc
END
t factor <<'END'
factor 1 2 12 97 1001 4294967297 1000000007 18446744073709551557
END
t shuf <<'END'
seq 1 50 | shuf | sort -n | md5sum; shuf -i 1-5 | sort | tr '\n' ' '; echo; shuf -e a b c | wc -l; shuf -n 2 -i 1-9 | wc -l
END
t yes-and-true <<'END'
yes | head -n 3; yes no | head -n 2; true; echo $?; false; echo $?; true --ignored; echo $?
END
t basename-dirname <<'END'
basename /usr/lib/file.c .c; basename /; basename a/; dirname /usr/lib/file; dirname file; dirname /; dirname a/b/
END
t tee <<'END'
echo data | tee a b; cat a b; echo more | tee -a a >/dev/null; cat a; echo x | tee /nosuch/file; echo $?
END
# Sums.
t checksums <<'END'
seq 1 1000 >f; md5sum f; sha1sum f; sha256sum f; sha512sum f; sha3sum f; crc32 f; md5sum </dev/null
END
t checksums-of-bulk <<'END'
dd if=/dev/zero bs=64k count=32 2>/dev/null | sha256sum; dd if=/dev/zero bs=4095 count=300 2>/dev/null | md5sum; yes 0123456789abcdef | head -c 1000000 | sha1sum
END
t checksum-check <<'END'
echo a >a; echo b >b; sha256sum a b >sums; sha256sum -c sums; echo $?; echo changed >b; sha256sum -c sums; echo $?; md5sum nosuch; echo $?
END

# Files.
t mkdir-rmdir <<'END'
mkdir -p a/b/c; mkdir a; echo $?; mkdir x/y; echo $?; rmdir a; echo $?; rmdir -p a/b/c; ls; mkdir -m 700 m; stat -c %a m
END
t touch <<'END'
touch -d '2020-02-03 04:05:06' f; stat -c '%y %Y' f; touch -r f g; stat -c %Y g; touch -c nosuch; ls; touch -t 202101020304.05 h; date -u -r h '+%F %T'; touch -a -d '2010-01-01 00:00:00' f; stat -c '%X %Y' f; touch /nosuch/x; echo $?
END
t cp <<'END'
mkdir -p s/d; echo data >s/f; echo deep >s/d/g; ln -s f s/l; chmod 751 s/d; touch -d '2015-05-05 05:05:05' s/f
cp -a s t; stat -c '%a %F %Y' t/f | sed 's/.*/&/'; stat -c '%a %F' t/d t/l; readlink t/l; cp -r s u; find u | sort; cp s/f copy; cat copy; cp s v; echo $?; cp nosuch w; echo $?; cp -p s/f p; stat -c %Y p; cp -L s/l deref; stat -c %F deref; cp -u s/f copy; cp s/f s/d/g t; ls t; cp -l copy hard; stat -c %h hard; cp -s $PWD/copy soft; readlink soft | sed 's,.*/,,'
END
t mv <<'END'
echo a >a; echo b >b; mv a c; ls; mv -n b c; cat c; mkdir d; mv b c d; ls d; mv d e; ls e; mv nosuch x; echo $?; mkdir -p f/g; mv f f/g; echo $?; mv e/b e/c f; ls f; mv -f f/b f/c; cat f/c
END
t mv-across-file-systems <<'END'
mkdir /run/applets-move 2>/dev/null; echo data >f; chmod 604 f; touch -d '2001-02-03 04:05:06' f; ln -s target l; mv f l /run/applets-move; ls; stat -c '%a %Y %s' /run/applets-move/f; readlink /run/applets-move/l; mkdir -p d/e; echo x >d/e/y; mv d /run/applets-move; find /run/applets-move -type f | sort; rm -r /run/applets-move
END
t rm <<'END'
touch a b; rm a; ls; rm a; echo $?; rm -f a; echo $?; mkdir -p d/e; touch d/e/f; rm d; echo $?; rm -r d; ls; rm -rf nosuch; echo $?; touch -- -x; rm -- -x; ls; unlink b; ls; unlink b; echo $?
END
t rm-many <<'END'
mkdir d; cd d; touch $(seq 1 500); ls | wc -l; mkdir -p $(seq -f 'x%g/y' 1 50 2>/dev/null || for i in $(seq 1 50); do echo x$i/y; done); cd ..; find d | wc -l; rm -r d; ls
END
t ln <<'END'
echo data >f; ln f h; ln -s f s; ln -s nosuch dangling; cat h s; stat -c %h f; readlink s; ls -L dangling; echo $?; cat dangling; ln f h; echo $?; ln -f f h; ln -sf other s; readlink s; rm f; cat h; stat -c %h h; mkdir d; ln h d; ls d; ln d e; echo $?; ln -sn x d; ls d
END
t readlink-realpath <<'END'
mkdir -p a/b; echo x >a/b/f; ln -s a/b l; ln -s l/f m; ln -s loop2 loop1; ln -s loop1 loop2; readlink m; readlink -f m | sed 's,.*/case/,,'; realpath l/../b | sed 's,.*/case/,,'; readlink f; echo $?; cat loop1; realpath loop1; echo $?; realpath /nosuch/dir; echo $?; realpath /tmp/../tmp/./; cd l; pwd | sed 's,.*/case/,,'; pwd -P | sed 's,.*/case/,,'; cd ..; pwd | sed 's,.*/,,'
END
t chmod <<'END'
touch f; for m in 644 u+x g=w o-r a+r +x u=rwx,go= 4755 u-s g+s 1777 go=u 0; do chmod $m f; stat -c "$m %a %A" f; done; mkdir -p d/e; touch d/e/g; chmod -R u+rwX,go-rwx d; stat -c '%a %n' d d/e d/e/g; chmod 644 nosuch; echo $?
END
t chown <<'END'
touch f; chown 12:34 f; stat -c '%u %g' f; chown 56 f; chgrp 78 f; stat -c '%u:%g' f; chown :9 f; stat -c '%u:%g' f; ln -s f l; chown -h 1:2 l; stat -c '%u:%g %n' l f; mkdir d; touch d/x; chown -R 3:4 d; stat -c '%u:%g' d d/x; chmod 4755 f; chown 7 f; stat -c '%a' f
END
t permissions-of-another-user <<'END'
as() { start-stop-daemon -S -c 1000:1000 -x $PATH/sh -- -c "$1"; }
chmod 755 .; echo secret >f; chmod 600 f; mkdir d; chmod 700 d; as 'id -u; id -g; cat f'; echo $?
chmod 644 f; as 'cat f; ls d; echo $?'; as 'echo x >f; echo $?; touch new; echo $?; rm -f f; echo $?; kill -0 1; echo $?'; as 'chown 1000 f; chmod 666 f; mkdir g; mknod n c 1 3; chroot . /bin/true'; echo $?; cat f
END
t stat <<'END'
printf 12345 >f; chmod 640 f; ln -s f l; mkdir d; mkfifo p; stat -c '%n %s %F %a %A %h' f l p; stat -L -c '%n %F' l; stat -c '%F' d /dev/null; stat -c '%t:%T' /dev/null /dev/zero; stat nosuch; echo $?; stat -c %s -t f 2>/dev/null | cut -d' ' -f1
END
t ls <<'END'
touch -d '2020-01-01 00:00:00' b a; mkdir d; touch .h d/x; ls; ls -a; ls -A; ls -1 d; ls -d d; ls -F; ls -p; ls -R; ls -r; touch -d '2021-01-01' a; ls -t; ls -l a b | sed 's/ root / 0 /g; s/ 0 *0 / 0 0 /' | awk '{ print $1, $NF }'; ls nosuch; echo $?
END
t ls-sizes <<'END'
head -c 100 /dev/zero >s; head -c 5000 /dev/zero >m; ls -S; ls -lh m | awk '{ print $5 }'; ls -ln s | awk '{ print $1, $2, $3, $4, $5 }'; ls -X
END
t find <<'END'
mkdir -p a/b/c d; touch a/1.txt a/b/2.txt a/b/c/3.log d/4.txt; ln -s 1.txt a/l; find . | sort; find . -name '*.txt' | sort; find . -type d | sort; find . -maxdepth 1 | sort; find . -mindepth 3 | sort; find a -type l; find . -iname '*.TXT' | wc -l; find . -path '*b*' -name '*.txt'; find nosuch; echo $?
END
t find-actions <<'END'
mkdir d; for i in 1 2 3; do head -c ${i}000 /dev/zero >d/f$i; done; touch -d '2001-01-01' d/f1; find d -type f -exec echo {} \; | sort; find d -type f -exec sh -c 'echo $# files' x {} +; find d -size +1500c | sort; find d -name f2 -print0 | tr '\0' '!'; echo; find d -newer d/f1 -type f | sort; find d -mtime +1000; find d -name f3 -o -name f1 | sort; find d ! -name 'f*'; find d -perm 644 | wc -l; find d -name f1 -exec rm {} +; ls d; find d -empty; find d -prune; find d -type f -ok true {} \; </dev/null 2>/dev/null; echo
END
t xargs <<'END'
seq 1 10 | xargs; seq 1 10 | xargs -n 3; echo 'a b' | xargs -I{} echo '<{}>'; printf 'a b\0c\0' | xargs -0 -n 1 echo; echo x | xargs false; echo $?; xargs -r echo </dev/null; echo 1 | xargs sh -c 'exit 255' ; echo $?; seq 3 | xargs -t -n 1 echo 2>&1; echo nosuch | xargs -n 1 nosuchcommand; echo $?
END
t xargs-parallel <<'END'
seq 1 24 | xargs -P 4 -n 1 sh -c 'echo $(($1 * $1)) >sq.$1' x; cat sq.* | sort -n | tr '\n' ' '; echo; seq 1 3000 | xargs -n 500 echo | wc -l
END
t dd <<'END'
seq 1 200 >f; dd if=f of=g bs=16 count=3 2>/dev/null; cat g | md5sum; dd if=f bs=10 skip=5 count=2 2>/dev/null; echo; dd if=f of=h bs=1 seek=10 count=5 2>/dev/null; stat -c %s h; hexdump -C h; printf XX | dd of=g conv=notrunc bs=1 seek=4 2>/dev/null; head -n 3 g; dd if=f bs=64 2>&1 >/dev/null | sed '/copied/d; /bytes/d'; echo abc | dd conv=ucase 2>/dev/null; dd if=nosuch; echo $?; dd if=/dev/zero of=big bs=1M count=3 2>/dev/null; stat -c %s big
END
t truncate-and-holes <<'END'
truncate -s 1M f; stat -c %s f; printf end | dd of=f bs=1 seek=500000 conv=notrunc 2>/dev/null; md5sum f; truncate -s 5 f; hexdump -C f; truncate -s 8 f; stat -c %s f; fallocate -l 100 g; stat -c %s g; dd if=/dev/zero of=h bs=1 seek=100000 count=0 2>/dev/null; stat -c %s h; shred -u -n 1 h; ls
END
t du-and-df <<'END'
mkdir -p d/e; head -c 10000 /dev/zero >d/f; head -c 5000 /dev/zero >d/e/g; du -s d/f | awk '{ print ($1 >= 10) }'; du -a d | awk '{ print $2 }' | sort; du -c d/f d/e/g | tail -n 1 | awk '{ print $2 }'; df . | awk 'NR == 1 { print $1, $NF } END { print (NR >= 2) }'
END
t mktemp <<'END'
f=$(mktemp ./x.XXXXXX); test -f $f; echo $?; stat -c '%a %s' $f; d=$(mktemp -d ./y.XXXXXX); test -d $d; echo $?; stat -c %a $d; ls | wc -l
END
t split-and-join <<'END'
seq 1 100 >f; awk '{ print > ("part" int(($1 - 1) / 25)) }' f; ls; cat part* | cmp - f; echo $?; wc -l part2
END
t open-and-unlinked <<'END'
echo kept >f; exec 3<f; rm f; cat <&3; ls; exec 3<&-; mkdir d; cd d; rmdir ../d; ls; touch x; echo $?
END
t append-in-parallel <<'END'
for i in 1 2 3 4; do (for j in $(seq 1 50); do echo "$i $j" >>f; done) & done; wait; wc -l <f; sort f | uniq | wc -l; awk 'NF != 2' f
END
t rename-over-and-hidden <<'END'
mkdir a b; touch a/x; mv a b; ls b; mkdir c; mv -T c b; echo $?; mkdir -p e/f; mv e/f .; ls; : >'new
line'; ls | wc -l; ls -q 2>/dev/null | head -n 9
END
t long-names-and-paths <<'END'
n=$(printf 'x%.0s' $(seq 1 255)); touch $n; ls | wc -c; touch ${n}y; echo $? | tail -n 1; p=.; for i in $(seq 1 40); do p=$p/directory$i; done; mkdir -p $p; echo deep >$p/f; cat $p/f; find . -name f | wc -c
END
t special-devices <<'END'
echo gone >/dev/null; wc -c </dev/null; head -c 4 /dev/zero | hexdump -C; head -c 16 /dev/urandom | wc -c; head -c 16 /dev/random | wc -c; head -c 3 /dev/full | hexdump -C; echo x >/dev/full; echo $?; cat /dev/stdin </dev/null; echo fd | cat /dev/fd/0; echo out | tee /dev/stdout | sort; test -c /dev/tty; echo $?
END
t proc-basics <<'END'
test -d /proc/self; echo $?; readlink /proc/self/exe | sed 's,.*/,,'; tr '\0' ' ' </proc/self/cmdline; echo; ls /proc/self/fd | wc -l; grep -c '^MemTotal:' /proc/meminfo; grep -c '^Name:' /proc/self/status; sh -c 'cut -d" " -f2 /proc/$$/stat'; awk '{ print NF }' /proc/uptime; awk '$2 == "/proc" { print $3 }' /proc/mounts; readlink /proc/self/cwd | sed 's,.*/,,'; cat /proc/self/comm
END

# Archives.
t tar <<'END'
mkdir -p d/e; seq 1 100 >d/f; echo x >d/e/g; ln -s f d/l; ln d/f d/h; touch -d '2010-01-01 00:00:00' d/f d/e/g d/e d; tar cf a.tar d; tar tf a.tar | sort; mkdir o; tar xf a.tar -C o; diff -r d o/d; echo $?; readlink o/d/l; stat -c '%h %Y' o/d/f; tar xOf a.tar d/e/g; tar tvf a.tar d/e/g | awk '{ print $1, $3, $4, $6 }'; tar xf nosuch.tar; echo $?
END
t tar-options <<'END'
mkdir d; touch d/a.c d/b.o d/c.c; tar cf a.tar d; tar tf a.tar | sort; tar cf b.tar -C d a.c c.c; tar tf b.tar; tar cf c.tar --no-recursion d d/b.o; tar tf c.tar; tar xkf a.tar 2>&1 | sed 's,d/..c,FILE,'; mkdir x; tar xf a.tar -C x --strip-components=1; ls x; tar cf - d | tar xf - -C x; ls x/d; head -c 700 a.tar >short.tar; tar tf short.tar >/dev/null; echo $?
END
t tar-compressed <<'END'
mkdir d; seq 1 2000 >d/f; tar czf a.tgz d; tar tzf a.tgz; tar cjf a.tbz d; tar tjf a.tbz; mkdir o; tar xzf a.tgz -C o; cmp d/f o/d/f; echo $?; tar xjf a.tbz -C o; cmp d/f o/d/f; echo $?; tar xOzf a.tgz d/f | md5sum
END
t gzip <<'END'
seq 1 5000 >f; md5sum <f; gzip -k f 2>/dev/null || gzip -c f >f.gz; test -s f.gz; echo $?; zcat f.gz | md5sum; gunzip -c f.gz | cmp - f; echo $?; gzip -t f.gz; echo $?; echo junk | gzip -dc; echo $?; rm f.gz; gzip f; ls; gzip -d f.gz; ls; touch f.gz; gzip f; echo $?; gzip -9 -c f | gunzip | cmp - f; echo $?; gzip -c -1 f | wc -c | awk '{ print ($1 < 20000) }'
END
t bzip2 <<'END'
seq 1 5000 >f; bzip2 -k f; ls; bzcat f.bz2 | cmp - f; echo $?; bunzip2 -c f.bz2 | md5sum; bzip2 -1 -c f | md5sum; bzip2 -9 <f | bunzip2 | cmp - f; echo $?; head -c 100 f.bz2 | bunzip2 >/dev/null; echo $?; bunzip2 -t f.bz2; echo $?
END
t xz-damaged <<'END'
base64 -d >f.xz <<A
/Td6WFoAAATm1rRGAgAhARYAAAB0L+Wj4Ac6AJJdADYaSh8IoCuxbQad+LKlrKdJmcWnpp/JLn3G
wXzG9tHWFcxu802d9Dd1ytkSIC1M3slk9hslIk/uE6tNF9Hd2UBAFz1p6DrQpxyOq/vPFHae5CzS
Is9ZGzbWk6rvUsvEmRJIYxbaHawHhxB0peYbMo3UNR+Epeo1f7LfHYB9siYEfjVBHpQFS6zWb87p
ysoZbwAAAAAA5be7nfKRcVAAAa4Buw4AAGJpzh2xxGf7AgAAAAAEWVo=
A
head -c 100 f.xz >short.xz; xzcat short.xz >/dev/null; echo $?; xz -d -t f.xz; echo $?; echo notxz | unxz; echo $?
(head -c 60 f.xz; printf '\377'; tail -c +62 f.xz) >g.xz; unxz <g.xz | wc -c
END
t xz-and-lzma <<'END'
base64 -d >f.xz <<A
/Td6WFoAAATm1rRGAgAhARYAAAB0L+Wj4Ac6AJJdADYaSh8IoCuxbQad+LKlrKdJmcWnpp/JLn3G
wXzG9tHWFcxu802d9Dd1ytkSIC1M3slk9hslIk/uE6tNF9Hd2UBAFz1p6DrQpxyOq/vPFHae5CzS
Is9ZGzbWk6rvUsvEmRJIYxbaHawHhxB0peYbMo3UNR+Epeo1f7LfHYB9siYEfjVBHpQFS6zWb87p
ysoZbwAAAAAA5be7nfKRcVAAAa4Buw4AAGJpzh2xxGf7AgAAAAAEWVo=
A
base64 -d >f.lzma <<A
XQAAgAD//////////wA2GkofCKArsW0GnfiypaynSZnFp6afyS59xsF8xvbR1hXMbvNNnfQ3dcrZ
EiAtTN7JZPYbJSJP7hOrTRfR3dlAQBc9aeg60Kccjqv7zxR2nuQs0iLPWRs21pOq71LLxJkSSGMW
2h2sB4cQdKXmGzKN1DUfhKXqNX+y3x2AfbImBH41QR6UBUus1m/O6crKa5mUt//nTAcA
A
xzcat f.xz; unxz -c f.xz | md5sum; xz -dc <f.xz | wc; lzcat f.lzma | md5sum; unxz f.xz; ls; mv f g; unlzma f.lzma; ls; cmp f g; echo $?
END
t cpio <<'END'
mkdir -p d/e; seq 1 50 >d/f; echo g >d/e/g; ln -s f d/l; find d | sort | cpio -o -H newc >a.cpio 2>/dev/null; cpio -t <a.cpio 2>/dev/null; mkdir o; cd o; cpio -id <../a.cpio 2>/dev/null; diff -r ../d d; echo $?; readlink d/l; cd ..; find d -type f | cpio -o -H newc 2>/dev/null | cpio -t d/f 2>/dev/null; echo junk | cpio -t; echo $?
END
t unzip <<'END'
base64 -d >a.zip <<A
UEsDBBQAAAAAAKMgQyoAAAAAAAAAAAAAAAACAAAAZC9QSwMEFAAAAAAAoyBDKkjJEUgKAAAACgAA
AAcAAABkL2hlbGxvaGVsbG8gemlwClBLAwQUAAAACACjIEMqmO8oNEsBAAC0AgAACQAAAGQvbnVt
YmVycx3SyRHAMAzDwD+qMeW7/8YC58/JsVAoOoPJYnO4pJGQIp0MMskimxxyqUaFKqpTg5rUojZ1
qEtv9NB9ZKcP+qQv+qYf+mU0RhjF8I2DMRmLsRmHcZmNGWYxO9MPmszF3MzDvKzGCqtYnTVYfu9i
bdZhXXZjh13szh7syfZ3NvuwL6dxwilO5wzO5CyOf3s4l9u44Ra3cwd3chd3c8V4GnI0PZogTZEm
SdOkidJUabI0dz+buwf35B7ds3t4T+/x6RcBU8/XnYYRMSpGxugYIaNkpIyW6S+EOzmjZwSNopE0
mkbUqBpZM14xd8pG2mgbcaNu5I2+ETgKZ7607kSOypE5OkfoKB2po3XEzno34E7vCB7FI3k0j+hR
PbJH9+x3LO6kj/YRP+pH/ugfA8QCMUHOuyp3VogZYocYIpaIKWKLGCPWyH3n9+6v8QFQSwECFAMU
AAAAAACjIEMqAAAAAAAAAAAAAAAAAgAAAAAAAAAAAAAA7UEAAAAAZC9QSwECFAMUAAAAAACjIEMq
SMkRSAoAAAAKAAAABwAAAAAAAAAAAAAApIEgAAAAZC9oZWxsb1BLAQIUAxQAAAAIAKMgQyqY7yg0
SwEAALQCAAAJAAAAAAAAAAAAAACkgU8AAABkL251bWJlcnNQSwUGAAAAAAMAAwCcAAAAwQEAAAAA
A
unzip -l a.zip | awk '{ print $1, $NF }'; unzip -q a.zip; find . -type f | sort; md5sum d/numbers; cat d/hello; unzip -p a.zip d/hello; unzip -o a.zip d/hello -d o; cat o/d/hello; echo junk >b.zip; unzip b.zip; echo $?
END
t compress <<'END'
base64 -d >f.Z <<A
H52QbNLQKSMnDBsQY96QKTMHxBs3bPIoAA==
A
zcat f.Z; uncompress -c f.Z | wc -c; rpm2cpio nosuch; echo $?
END
t ar <<'END'
echo one >a; echo two >b; touch -d '2000-01-01' a b; ar rc x.a a b 2>/dev/null || printf '!<arch>\n%-16s%-12s%-6s%-6s%-8s%-10s`\n%s\n' a/ 0 0 0 100644 4 one >x.a; ar t x.a; ar p x.a a
END
t archive-pipeline <<'END'
mkdir -p d; for i in $(seq 1 40); do seq 1 $i >d/$i; done; tar cf - d | gzip | gunzip | bzip2 | bunzip2 | tar xf - -C . ; tar cf - -C d . | tar tf - | wc -l; (cd d; cat $(ls | sort -n)) | md5sum
END

# Processes and the system.
t timeout <<'END'
timeout 5 echo in time; echo $?; timeout 0.2 sleep 10; echo $?; timeout -s KILL 0.2 sleep 10; echo $?; timeout 1 sh -c 'exit 7'; echo $?; timeout 1 nosuchcommand; echo $?
END
t env <<'END'
env -i A=1 B=2 $PATH/env | sort; env X=y sh -c 'echo $X'; env -u HOME sh -c 'echo ${HOME-unset}'; env nosuchcommand; echo $?; A=temp sh -c 'echo $A'; echo ${A-none}
END
t kill <<'END'
kill -l 9 15 2 17; kill -l | head -n 1 | wc -c | awk '{ print ($1 > 1) }'; sleep 20 & p=$!; kill -0 $p; echo $?; kill $p; wait $p; kill -0 $p 2>/dev/null; echo $?; sh -c 'kill -9 $$'; echo $?; sh -c 'kill -SEGV $$' 2>&1; echo $?; kill -WHAT 1; echo $?
END
t stop-and-continue <<'END'
(sleep 0.3; echo done >f) & p=$!; kill -STOP $p; sleep 0.6; test -e f; echo $?; cut -d' ' -f3 /proc/$p/stat; kill -CONT $p; wait $p; echo $?; cat f
END
t setsid-nohup <<'END'
setsid echo in a session; sh -c 'trap "" HUP; kill -HUP $$; echo still here'; setsid sh -c 'cut -d" " -f1,6 /proc/self/stat | awk "{ print (\$1 != 0) }"'
END
t ps-and-pidof <<'END'
sleep 17 & p=$!; sleep 0.1; ps -o pid,args 2>/dev/null | awk -v p=$p '$1 == p { print $2, $3 }'; pidof nosuchprogram; echo $?; kill $p; wait 2>/dev/null; ps | head -n 1 | awk '{ print $1 }'
END
t id-and-names <<'END'
id -u; id -g; echo 'root:x:0:0:r:/root:/bin/sh' >/dev/null; uname -m; whoami 2>/dev/null | wc -l; nproc | awk '{ print ($1 >= 1) }'; hostname applets-host; hostname; uname -n; tty; echo $?; logname >/dev/null 2>&1; echo $?
END
t date <<'END'
date -u -d @0; date -u -d @1000000000 '+%Y-%m-%d %H:%M:%S %j %a %b %u %V %s'; date -u -d '2024-02-29 12:34:56' '+%s %A %B %y %e %I %p'; TZ=CET-1CEST,M3.5.0,M10.5.0/3 date -d @1720000000 '+%F %T %Z %z'; date -u -D '%d.%m.%Y' -d '31.12.1999' +%F; date -u -d nonsense; echo $?; date -u -I -d @86400; date -R -u -d @5
END
t cal <<'END'
cal 2 2024; cal 9 1752; cal -j 1 2023 | head -n 3
END
t time-and-sleep <<'END'
time true 2>&1 | awk '{ print $1 }'; sleep 0.01; echo $?; usleep 1000; echo $?; sleep nonsense; echo $?; sleep 0 0; echo $?
END
t mount-listing <<'END'
mkdir m; mount -t tmpfs -o size=64k applets m; echo $?; mount | awk '$1 == "applets" { print $5 }'; echo x >m/f; ls m; head -c 100000 /dev/zero >m/big; echo $?; rm m/big; cd m; umount .; echo $?; cd ..; umount m; echo $?; ls m; umount m; echo $?
END
t bind-mount <<'END'
mkdir a b; echo x >a/f; mount --bind a b && cat b/f && echo y >b/g && umount b; ls a b
END
t sync-and-free <<'END'
sync; echo $?; free | awk 'NR == 1 { print $1, $2 } END { print NR }'; uptime | grep -c load; dmesg 2>/dev/null | wc -l | awk '{ print ($1 >= 0) }'
END
t chroot-and-pivot <<'END'
mkdir -p r/bin; cp /bin/busybox r/bin/; chroot r /bin/busybox ls /; chroot r /bin/busybox sh -c 'cd ..; pwd; /bin/busybox cat /../bin/nosuch'; chroot nosuch true; echo $?
END
t which-and-run-parts <<'END'
which sh | sed 's,.*/,,'; which nosuch; echo $?; mkdir p; printf '#!/bin/busybox sh\necho ran %s\n' one >p/1; cp p/1 p/2; chmod +x p/1 p/2; run-parts p; run-parts --test p
END
t start-stop-daemon <<'END'
start-stop-daemon -S -b -m -p pid -x $PATH/sleep -- 30; sleep 0.2; test -s pid; echo $?; start-stop-daemon -K -p pid >/dev/null; echo $?; sleep 0.1; kill -0 $(cat pid) 2>/dev/null; echo $?
END
t getopt-and-sulogin <<'END'
getopt -o ab:c -l long,value: -- -a -b x --long --value=3 rest; getopt -o a -- -z; echo $?
END
t ipcalc-and-crypt <<'END'
ipcalc -n -b -m 192.168.7.9/20; mkpasswd -m sha256 -S saltsalt password 2>/dev/null; echo password | mkpasswd -m sha512 -S abcdefgh -P 0; cryptpw 2>/dev/null; echo $?
END
t vi-scripted <<'END'
printf 'alpha\nbeta\n' >f; vi -c ':1d' -c ':wq' f </dev/null >/dev/null 2>&1; cat f
END
t awk-and-shell-work <<'END'
i=0; s=0; while [ $i -lt 3000 ]; do i=$((i + 1)); s=$(((s * 31 + i) % 65521)); done; echo $s
awk 'BEGIN { for (i = 0; i < 200000; i++) s = (s * 31 + i) % 65521; print s }'
END
t word-frequencies <<'END'
for i in $(seq 1 60); do echo "the quick brown fox number $((i % 7)) jumps over dog $((i % 3))"; done | tr ' ' '\n' | sort | uniq -c | sort -k1,1nr -k2 | head -n 12
END
t script-of-everything <<'END'
mkdir src out; for i in 1 2 3; do printf 'int f%d(void) { return %d; }\n' $i $i >src/f$i.c; done
for f in src/*.c; do n=$(basename $f .c); sed 's/int/long/' $f | tee out/$n.l | sha256sum | cut -c1-16 >out/$n.sum & done; wait
paste -d' ' out/*.sum; tar cf - out | (mkdir copy; cd copy; tar xf -); diff -r out copy/out && echo same; find copy -type f -name '*.l' -print0 | xargs -0 cat | sort
END
t everything-released <<'END'
ls; jobs; wait; echo clean
END

rm -rf $work
