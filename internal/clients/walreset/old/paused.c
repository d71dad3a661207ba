// A VFS that is the default one, but for a pause at the end of a look at the WAL's header.
// SQLite calls xUnfetch there if the header has changed, and nothing between that and its test for work to do.

#include <stdio.h>
#include <string.h>
#include <unistd.h>

// The beginnings of SQLite's structs, which it keeps compatible. https://sqlite.org/c3ref/io_methods.html
typedef long long i64;
typedef struct file file;
typedef struct methods {
	int version;
	void *rest1[17]; // xClose to xShmUnmap, xFetch
	int (*unfetch)(file *, i64, void *);
} methods;
struct file { const methods *methods; };
typedef struct vfs {
	int version, osFile, maxPathname;
	struct vfs *next;
	const char *name;
	void *appData;
	int (*open)(struct vfs *, const char *, file *, int, int *);
	void *rest[18];
} vfs;

vfs *sqlite3_vfs_find(const char *);
int sqlite3_vfs_register(vfs *, int);

enum { mainDB = 0x100 };

static methods paused;
static int (*unfetch)(file *, i64, void *);
static int (*openFile)(vfs *, const char *, file *, int, int *);
static int armed;
static int delay; // of each such pause, in microseconds

static int pausing(file *f, i64 at, void *p) {
	if (armed) {
		char line[80];
		armed = 0;
		puts("paused");
		fflush(stdout);
		if (!fgets(line, sizeof line, stdin)) return 10;
	}
	if (delay > 0) usleep(delay);
	return unfetch(f, at, p);
}

static int openPaused(vfs *v, const char *name, file *f, int flags, int *out) {
	int rc = openFile(v, name, f, flags, out);
	if (rc == 0 && (flags & mainDB)) {
		memcpy(&paused, f->methods, sizeof paused);
		if (paused.version < 3) return 1;
		unfetch = paused.unfetch;
		paused.unfetch = pausing;
		f->methods = &paused;
	}
	return rc;
}

int registerPaused(void) {
	static vfs v;
	vfs *base = sqlite3_vfs_find(0);
	if (!base || base->version < 3) return 1;
	memcpy(&v, base, sizeof v);
	v.name = "paused";
	openFile = v.open;
	v.open = openPaused;
	return sqlite3_vfs_register(&v, 0);
}

void armPause(void) { armed = 1; }
void delayPauses(int us) { delay = us; }
