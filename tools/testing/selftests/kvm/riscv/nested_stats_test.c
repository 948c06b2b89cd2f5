// SPDX-License-Identifier: GPL-2.0-only
/*
 * Nested virtualization: statistics and tracepoints.
 *
 * L1 counts the exits of L2 by itself, and userspace compares that with what KVM
 * counted and traced.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>

#include "kvm_util.h"
#include "processor.h"
#include "nested.h"
#include "ucall_common.h"
#include "kselftest.h"

#define TRACEFS		"/sys/kernel/tracing"
#define NO_PAGE		(NESTED_L2_ADDR + 0x10000000)

/* What L2 does next, and how often in a round */
enum { CALL, LOAD_NO_PAGE, CSR_OF_HS, BREAKPOINT, NEW_PAGE, NR_THINGS };
static const int times[NR_THINGS] = { 100, 20, 30, 10, 16 };

/* What becomes of it */
enum { ECALL, GSTAGE, INSN, OTHER, NR_KINDS };
static u64 seen[NR_KINDS], entered, next_page;

static void l2_code(void)
{
	for (;;) {
		switch (nested_l2_call(0)) {
		case LOAD_NO_PAGE:
			asm volatile(".option push\n.option norvc\n"
				     "lw zero, (%0)\n"
				     ".option pop" :: "r" (NO_PAGE));
			break;
		case CSR_OF_HS:
			csr_read(CSR_HSTATUS);
			break;
		case BREAKPOINT:
			asm volatile(".option push\n.option norvc\n"
				     "ebreak\n"
				     ".option pop");
			break;
		case NEW_PAGE:
			READ_ONCE(*(u64 *)READ_ONCE(next_page));
			break;
		}
	}
}

static struct nested_ctx ctx;

/* Until L2 asks what to do */
static void run_l2(void)
{
	for (;;) {
		nested_run(&ctx);
		entered++;
		/* The instructions of L2 that trap all have four bytes */
		ctx.sepc += 4;
		switch (ctx.scause) {
		case 10:
			seen[ECALL]++;
			return;
		case 20:
		case 21:
		case 23:
			seen[GSTAGE]++;
			break;
		case 2:
		case 22:
			seen[INSN]++;
			break;
		default:
			seen[OTHER]++;
			break;
		}
	}
}

static void l1_code(void)
{
	int what, i;

	nested_init(&ctx, l2_code);
	run_l2();
	next_page = NESTED_L2_ADDR;
	for (;;) {
		memset(seen, 0, sizeof(seen));
		entered = 0;
		GUEST_SYNC(0);
		for (what = 0; what < NR_THINGS; what++) {
			for (i = 0; i < times[what]; i++) {
				if (what == NEW_PAGE) {
					next_page += 4096;
					nested_map(&nested_pgt, next_page,
						   NESTED_TEST_GPA + next_page - NESTED_L2_ADDR,
						   0, NESTED_PTE_RWX);
				}
				ctx.x[10] = what;
				run_l2();
			}
		}
		GUEST_SYNC(1);
	}
}

struct counts {
	u64 kinds[NR_KINDS];
	u64 irq, entries, maps, fast, exits;
};

static void get_counts(struct kvm_vcpu *vcpu, struct counts *c)
{
	c->kinds[ECALL] = vcpu_get_stat(vcpu, nested_exits_ecall);
	c->kinds[GSTAGE] = vcpu_get_stat(vcpu, nested_exits_gstage);
	c->kinds[INSN] = vcpu_get_stat(vcpu, nested_exits_insn);
	c->kinds[OTHER] = vcpu_get_stat(vcpu, nested_exits_other);
	c->irq = vcpu_get_stat(vcpu, nested_exits_irq);
	c->entries = vcpu_get_stat(vcpu, nested_entries);
	c->maps = vcpu_get_stat(vcpu, nested_shadow_maps);
	c->fast = vcpu_get_stat(vcpu, nested_fast_exits);
	c->exits = vcpu_get_stat(vcpu, exits);
}

static void run_to(struct kvm_vcpu *vcpu, u64 stage)
{
	struct ucall uc;

	vcpu_run(vcpu);
	TEST_ASSERT(get_ucall(vcpu, &uc) == UCALL_SYNC && uc.args[1] == stage,
		    "L1 did not reach stage %lu", (unsigned long)stage);
}

/* One round; what KVM counted for it */
static struct counts one_round(struct kvm_vcpu *vcpu)
{
	struct counts before, after;
	int i;

	run_to(vcpu, 0);
	get_counts(vcpu, &before);
	run_to(vcpu, 1);
	get_counts(vcpu, &after);

	for (i = 0; i < NR_KINDS; i++)
		after.kinds[i] -= before.kinds[i];
	after.irq -= before.irq;
	after.entries -= before.entries;
	after.maps -= before.maps;
	after.fast -= before.fast;
	after.exits -= before.exits;

	return after;
}

static bool put(const char *file, const char *text)
{
	int fd = open(file, O_WRONLY | O_TRUNC);
	bool done;

	if (fd < 0)
		return false;
	done = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	close(fd);

	return done;
}

static bool trace(const char *event, bool on)
{
	char file[128];

	snprintf(file, sizeof(file), TRACEFS "/events/kvm/%s/enable", event);

	return put(file, on ? "1" : "0");
}

/* How many events with that name there are, that have a text */
static u64 traced(const char *event, const char *text)
{
	FILE *f = fopen(TRACEFS "/trace", "r");
	char line[512], name[64];
	u64 n = 0;

	TEST_ASSERT(f, "%s/trace: %s", TRACEFS, strerror(errno));
	snprintf(name, sizeof(name), " %s: ", event);
	while (fgets(line, sizeof(line), f))
		n += strstr(line, name) && strstr(line, text);
	fclose(f);

	return n;
}

static void test_stats(struct kvm_vcpu *vcpu)
{
	struct counts c = one_round(vcpu);
	u64 *l1_seen = addr_gva2hva(vcpu->vm, (gva_t)seen);
	u64 *l1_entered = addr_gva2hva(vcpu->vm, (gva_t)&entered);

	/* Each thing ends in a call, and all but two trap before that */
	ksft_test_result(c.kinds[ECALL] == 100 + 20 + 30 + 10 + 16 &&
			 c.kinds[GSTAGE] == 20 && c.kinds[INSN] == 30 &&
			 c.kinds[OTHER] == 10 && !c.irq, "exits by kind\n");
	ksft_test_result(!memcmp(c.kinds, l1_seen, sizeof(c.kinds)) &&
			 c.entries == *l1_entered, "exits and entries as L1 counts them\n");
	ksft_test_result(c.maps >= 16, "pages\n");
	ksft_test_result(c.fast > 100 && c.fast <= c.exits,
			 "exits that are served right after the world switch\n");
}

static void test_nested_events(struct kvm_vcpu *vcpu)
{
	struct counts c;
	bool pass;

	put(TRACEFS "/trace", "");
	pass = trace("kvm_nested_enter", true) && trace("kvm_nested_exit", true) &&
	       trace("kvm_nested_shadow_map", true);
	run_to(vcpu, 0);
	put(TRACEFS "/trace", "");
	/* The vCPU is at the start of a round, so this is all of it */
	run_to(vcpu, 1);
	trace("kvm_nested_enter", false);
	trace("kvm_nested_exit", false);
	trace("kvm_nested_shadow_map", false);

	ksft_test_result(pass && traced("kvm_nested_exit", "SCAUSE: 0xa,") == 176 &&
			 traced("kvm_nested_exit", "SCAUSE: 0x15,") == 20 &&
			 traced("kvm_nested_exit", "SCAUSE: 0x16,") == 30 &&
			 traced("kvm_nested_exit", "SCAUSE: 0x3,") == 10 &&
			 traced("kvm_nested_exit", "") == 236, "exits are traced\n");
	ksft_test_result(pass && traced("kvm_nested_enter", "") == 236, "entries are traced\n");
	ksft_test_result(pass && traced("kvm_nested_shadow_map", "level: 0") >= 16,
			 "pages are traced\n");

	c = one_round(vcpu);
	ksft_test_result(c.entries == 236 && traced("kvm_nested_enter", "") == 236,
			 "nothing is traced any more\n");
}

static void test_exit_events(struct kvm_vcpu *vcpu)
{
	struct counts c;
	bool pass;

	run_to(vcpu, 0);
	put(TRACEFS "/trace", "");
	pass = trace("kvm_entry", true) && trace("kvm_exit", true);
	run_to(vcpu, 1);
	c = one_round(vcpu);
	trace("kvm_entry", false);
	trace("kvm_exit", false);

	ksft_test_result(pass && !c.fast && traced("kvm_exit", "") >= c.exits &&
			 traced("kvm_entry", "") == traced("kvm_exit", ""),
			 "no exit escapes those who trace all\n");
}

int main(void)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	ksft_print_header();
	if (!nested_supported())
		ksft_exit_skip("KVM does not offer the H extension, see kvm.nested\n");
	ksft_set_plan(9);
	vm = nested_vm_create(&vcpu, l1_code, VM_MEM_SRC_ANONYMOUS);
	test_stats(vcpu);

	/* Mounted already, or not there */
	mount("tracefs", TRACEFS, "tracefs", 0, NULL);
	if (trace("kvm_nested_enter", false)) {
		test_nested_events(vcpu);
		test_exit_events(vcpu);
	} else {
		ksft_test_result_skip("exits are traced: no tracepoints here\n");
		ksft_test_result_skip("entries are traced: no tracepoints here\n");
		ksft_test_result_skip("pages are traced: no tracepoints here\n");
		ksft_test_result_skip("nothing is traced any more: no tracepoints here\n");
		ksft_test_result_skip("no exit escapes those who trace all: no tracepoints here\n");
	}
	kvm_vm_free(vm);
	ksft_finished();
}
