// SPDX-License-Identifier: GPL-2.0
/*
 * Stress of the vCPU reset path: SBI hart start and stop.
 *
 * SBI HSM gives a started hart exactly this state: pc = start_addr, a0 = hart
 * ID, a1 = opaque, satp = 0, sstatus.SIE = 0.  The tests check that a hart
 * never sees anything else, whatever other vCPUs and userspace do meanwhile:
 *
 *  - userspace reads, and writes, the state of a started vCPU before it runs;
 *  - an exit to userspace that the previous life of the vCPU left unfinished;
 *  - performance counters that the previous life left running;
 *  - remote fences that arrive during the reset;
 *  - vCPUs that start each other in tight loops, with a different pair of
 *    entry point and argument for each start, while userspace kicks them,
 *    moves their registers out and in again, and powers stopped ones off.
 */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kvm_util.h"
#include "kselftest.h"
#include "processor.h"
#include "test_util.h"
#include "ucall_common.h"

/* SBI specification: HSM, RFENCE and PMU extensions */
#define HSM			0x48534D
#define HSM_START		0
#define HSM_STOP		1
#define HSM_STATUS		2
#define HSM_STARTED		0
#define HSM_STOPPED		1
#define RFENCE			0x52464E43
#define RFENCE_SFENCE_VMA	1
#define PMU_EVENT_DTLB_READ_MISS	0x10019
#define PMU_FW_SFENCE_VMA_RECEIVED	0xf000b
#define PMU_FW_HFENCE_VVMA_RECEIVED	0xf0013
#define PMU_CFG_CLEAR_START	(BIT(1) | BIT(2))

#define MAX_VCPUS		8
#define NR_ENTRIES		16
/* A stress that is shorter has not shown anything */
#define MIN_STARTS		50
#define ENTRY_SIZE		8

/*
 * A memory slot that the guest sees at the same address with and without
 * paging: a hart starts without.
 */
#define SLOT_BASE		0x80000000UL
#define SLOT_PAGES		3
#define BOOT_BASE		(SLOT_BASE + 0x1000)
#define SHARED_BASE		(SLOT_BASE + 0x2000)
/* Virtual addresses of a page, of its leaf table, and of nothing (MMIO) */
#define PAGE_VA			0x90000000UL
#define TABLE_VA		0x90001000UL
#define MMIO_VA			0x90002000UL
#define MMIO_GPA		0x10000000UL

/* One per hart. The entry code knows the offsets. */
struct boot {
	/* What the hart found when it started */
	unsigned long pc;
	unsigned long a0;
	unsigned long a1;
	unsigned long a2;
	unsigned long satp;
	unsigned long sstatus;
	/* What it goes on with, written by userspace */
	unsigned long sp;
	unsigned long gp;
	unsigned long next_satp;
	unsigned long stvec;
	void (*fn)(struct boot *boot);
	unsigned long pad[21];
};

struct shared {
	/* Stress: what each hart is trying to start, and what it is told */
	unsigned long attempt[MAX_VCPUS];
	unsigned long ack[MAX_VCPUS];
	unsigned long started[MAX_VCPUS];
	unsigned long refused[MAX_VCPUS];
	unsigned long cancelled[MAX_VCPUS];
	unsigned long nr_vcpus;
	unsigned long quit;
	/* Remote fences: rounds of the hart under test and its peers */
	unsigned long ready;
	unsigned long go;
	unsigned long booted;
	unsigned long burst;
	unsigned long stale;
	unsigned long counted;
	unsigned long lost;
	unsigned long pte;
	unsigned long pte_val[2];
};

static struct {
	unsigned int vcpus;
	unsigned int msecs;
	unsigned int kick_us;
	unsigned int fence_rounds;
	unsigned int stall_secs;
} opt = {
	.vcpus = 4, .msecs = 1500, .kick_us = 300, .fence_rounds = 1000,
	.stall_secs = 20,
};

#define guest_shared	((struct shared *)SHARED_BASE)

static void smp_fence(void)
{
	asm volatile("fence rw, rw" : : : "memory");
}

/*
 * Entry points, ENTRY_SIZE apart, and the code behind them: note the state,
 * then go to the C function of this hart, with paging.  A hart ID that is out
 * of range has no boot area; report the trap that the library understands.
 */
asm(".pushsection .text\n"
	".balign 4\n"
	".option push\n"
	".option norvc\n"
	".option norelax\n"
	"hsm_entry:\n"
	".rept " __stringify(NR_ENTRIES) "\n"
	"	auipc	t0, 0\n"
	"	j	1f\n"
	".endr\n"
	"1:	csrr	t1, satp\n"
	"	csrr	t2, sstatus\n"
	"	li	t3, " __stringify(MAX_VCPUS) "\n"
	"	bltu	a0, t3, 2f\n"
	"	li	a7, " __stringify(SBI_EXT_EXPERIMENTAL_END) "\n"
	"	li	a6, " __stringify(KVM_RISCV_SELFTESTS_SBI_UNEXP) "\n"
	"	ecall\n"
	"2:	li	t3, " __stringify(BOOT_BASE) " & 0xffffffff\n"
	"	slli	t4, a0, 8\n"
	"	add	t3, t3, t4\n"
	"	sd	t0, 0(t3)\n"
	"	sd	a0, 8(t3)\n"
	"	sd	a1, 16(t3)\n"
	"	sd	a2, 24(t3)\n"
	"	sd	t1, 32(t3)\n"
	"	sd	t2, 40(t3)\n"
	"	ld	sp, 48(t3)\n"
	"	ld	gp, 56(t3)\n"
	"	ld	t1, 64(t3)\n"
	"	ld	t2, 72(t3)\n"
	"	ld	t4, 80(t3)\n"
	"	csrw	stvec, t2\n"
	"	csrw	sscratch, a0\n"
	"	csrw	satp, t1\n"
	"	sfence.vma\n"
	"	mv	a0, t3\n"
	"	jr	t4\n"
	"hsm_entry_end:\n"
	".option pop\n"
	"hsm_stop:\n"
	"	li	a7, " __stringify(HSM) "\n"
	"	li	a6, " __stringify(HSM_STOP) "\n"
	"	ecall\n"
	"hsm_stop_returned:\n"
	"	ret\n"
	".popsection\n");
extern char hsm_entry[], hsm_entry_end[], hsm_stop_returned[];
void hsm_stop(void);

static unsigned long entry_addr(unsigned int i)
{
	return SLOT_BASE + (i % NR_ENTRIES) * ENTRY_SIZE;
}

/* The argument of a start names its caller, its target and its entry point */
#define OP_SEQ_BITS	40

static unsigned long op_make(unsigned int from, unsigned int to,
			     unsigned int entry, unsigned long seq)
{
	return ((unsigned long)(from + 1) << 56) | ((unsigned long)to << 48) |
	       ((unsigned long)entry << OP_SEQ_BITS) |
	       (seq & (BIT(OP_SEQ_BITS) - 1));
}

static unsigned int op_from(unsigned long op)
{
	return (op >> 56) - 1;
}

static unsigned int op_to(unsigned long op)
{
	return (op >> 48) & 0xff;
}

static unsigned int op_entry(unsigned long op)
{
	return (op >> OP_SEQ_BITS) & 0xff;
}

/* Guest library */

static long hart_start(unsigned long hart, unsigned long addr,
		       unsigned long opaque)
{
	return sbi_ecall(HSM, HSM_START, hart, addr, opaque, 0, 0, 0).error;
}

static struct sbiret hart_status(unsigned long hart)
{
	return sbi_ecall(HSM, HSM_STATUS, hart, 0, 0, 0, 0, 0);
}

static void remote_sfence(unsigned long mask, unsigned long va)
{
	struct sbiret ret;

	ret = sbi_ecall(RFENCE, RFENCE_SFENCE_VMA, mask, 0, va, 4096, 0, 0);
	GUEST_ASSERT_EQ(ret.error, 0);
}

static void guest_stop(void)
{
	/* A start must switch off again what this life switched on */
	local_irq_enable();
	hsm_stop();
	GUEST_FAIL("hart_stop returned");
}

/* Host library */

static unsigned long get_reg(struct kvm_vcpu *vcpu, uint64_t id)
{
	unsigned long val = 0;

	TEST_ASSERT(!__vcpu_get_reg(vcpu, id, &val), "register %lx: errno %d",
		    (unsigned long)id, errno);
	return val;
}

static struct kvm_vm *create_vm(unsigned int nr, void *code, void *started,
				struct kvm_vcpu **vcpus)
{
	struct kvm_mp_state stopped = { .mp_state = KVM_MP_STATE_STOPPED };
	struct kvm_vm *vm;
	struct boot *boot;
	unsigned int i;

	vm = vm_create_with_vcpus(nr, code, vcpus);
	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, SLOT_BASE, 1,
				    SLOT_PAGES, 0);
	virt_map(vm, SLOT_BASE, SLOT_BASE, SLOT_PAGES);
	memcpy(addr_gpa2hva(vm, SLOT_BASE), hsm_entry,
	       hsm_entry_end - hsm_entry);

	boot = addr_gpa2hva(vm, BOOT_BASE);
	for (i = 0; i < nr; i++) {
		boot[i].sp = get_reg(vcpus[i], RISCV_CORE_REG(regs.sp));
		boot[i].gp = get_reg(vcpus[i], RISCV_CORE_REG(regs.gp));
		boot[i].next_satp = get_reg(vcpus[i], RISCV_GENERAL_CSR_REG(satp));
		boot[i].stvec = get_reg(vcpus[i], RISCV_GENERAL_CSR_REG(stvec));
		boot[i].fn = started;
		if (i)
			vcpu_mp_state_set(vcpus[i], &stopped);
	}

	return vm;
}

/* A guest that lost its way may never come back to userspace */
static void on_alarm(int sig)
{
	static const char msg[] = "Bail out! a guest hangs\n";

	(void)!write(STDOUT_FILENO, msg, sizeof(msg) - 1);
	_exit(KSFT_FAIL);
}

static uint64_t run_to_ucall(struct kvm_vcpu *vcpu, struct ucall *uc)
{
	uint64_t cmd;

	alarm(opt.stall_secs);
	vcpu_run(vcpu);
	alarm(0);
	cmd = get_ucall(vcpu, uc);
	if (cmd == UCALL_ABORT)
		REPORT_GUEST_ASSERT(*uc);
	TEST_ASSERT(cmd != UCALL_NONE, "vCPU %u: unexpected exit %u (%s)",
		    vcpu->id, vcpu->run->exit_reason,
		    exit_reason_str(vcpu->run->exit_reason));

	return cmd;
}

/* Start of vCPU 1 by vCPU 0, both run in turns by this thread */

#define TEST_OPAQUE	0x5aa5123456789abcUL
#define TEST_ENTRY	3
#define TEST_A2		0x0123456789abcdefUL

static void guest_start_1(void)
{
	for (;;)
		GUEST_SYNC1(hart_start(1, entry_addr(TEST_ENTRY), TEST_OPAQUE));
}

static void guest_report(struct boot *boot)
{
	GUEST_SYNC3(boot->pc, boot->a1, boot->a2);
}

static void start_1(struct kvm_vcpu *vcpu0)
{
	struct ucall uc;

	TEST_ASSERT_EQ(run_to_ucall(vcpu0, &uc), UCALL_SYNC);
	TEST_ASSERT_EQ(uc.args[0], 0);
}

static void test_state_seen(void)
{
	unsigned long pc, a0, a1, satp, sstatus;
	struct kvm_vcpu *vcpus[2];
	struct kvm_mp_state mp;
	struct kvm_vm *vm;

	vm = create_vm(2, guest_start_1, guest_report, vcpus);
	vcpu_set_reg(vcpus[1], RISCV_GENERAL_CSR_REG(sstatus), SR_SIE);
	start_1(vcpus[0]);

	vcpu_mp_state_get(vcpus[1], &mp);
	pc = get_reg(vcpus[1], RISCV_CORE_REG(regs.pc));
	a0 = get_reg(vcpus[1], RISCV_CORE_REG(regs.a0));
	a1 = get_reg(vcpus[1], RISCV_CORE_REG(regs.a1));
	satp = get_reg(vcpus[1], RISCV_GENERAL_CSR_REG(satp));
	sstatus = get_reg(vcpus[1], RISCV_GENERAL_CSR_REG(sstatus));
	ksft_print_msg("mp_state %u pc %lx a0 %lx a1 %lx satp %lx sstatus %lx\n",
		       mp.mp_state, pc, a0, a1, satp, sstatus);
	ksft_test_result(mp.mp_state == KVM_MP_STATE_RUNNABLE &&
			 pc == entry_addr(TEST_ENTRY) && a0 == 1 &&
			 a1 == TEST_OPAQUE && !satp && !(sstatus & SR_SIE),
			 "userspace sees the state of a started hart\n");
	kvm_vm_free(vm);
}

static void test_state_written(void)
{
	struct kvm_vcpu *vcpus[2];
	struct kvm_vm *vm;
	struct ucall uc;

	vm = create_vm(2, guest_start_1, guest_report, vcpus);
	start_1(vcpus[0]);
	vcpu_set_reg(vcpus[1], RISCV_CORE_REG(regs.a2), TEST_A2);

	TEST_ASSERT_EQ(run_to_ucall(vcpus[1], &uc), UCALL_SYNC);
	ksft_print_msg("pc %lx a1 %lx a2 %lx\n", uc.args[0], uc.args[1],
		       uc.args[2]);
	ksft_test_result(uc.args[0] == entry_addr(TEST_ENTRY) &&
			 uc.args[1] == TEST_OPAQUE && uc.args[2] == TEST_A2,
			 "registers that userspace writes after a start are kept\n");
	kvm_vm_free(vm);
}

static void guest_read_mmio(void)
{
	(void)READ_ONCE(*(unsigned int *)MMIO_VA);
	GUEST_FAIL("MMIO read returned");
}

static void test_unfinished_exit(void)
{
	struct kvm_mp_state stopped = { .mp_state = KVM_MP_STATE_STOPPED };
	struct kvm_vcpu *vcpus[2];
	struct kvm_vm *vm;
	struct ucall uc;

	vm = create_vm(2, guest_start_1, guest_report, vcpus);
	virt_map(vm, MMIO_VA, MMIO_GPA, 1);
	vcpu_set_reg(vcpus[1], RISCV_CORE_REG(regs.pc),
		     (unsigned long)guest_read_mmio);
	vcpu_mp_state_set(vcpus[1], &(struct kvm_mp_state) {
			  .mp_state = KVM_MP_STATE_RUNNABLE });
	vcpu_run(vcpus[1]);
	TEST_ASSERT_KVM_EXIT_REASON(vcpus[1], KVM_EXIT_MMIO);
	memset(vcpus[1]->run->mmio.data, 0xff, 8);

	/* The VMM powers the vCPU off instead of finishing the read */
	vcpu_mp_state_set(vcpus[1], &stopped);
	start_1(vcpus[0]);
	/* Whoever looks at the vCPU makes the reset come now */
	get_reg(vcpus[1], RISCV_CORE_REG(regs.pc));

	TEST_ASSERT_EQ(run_to_ucall(vcpus[1], &uc), UCALL_SYNC);
	ksft_print_msg("pc %lx a1 %lx\n", uc.args[0], uc.args[1]);
	ksft_test_result(uc.args[0] == entry_addr(TEST_ENTRY) &&
			 uc.args[1] == TEST_OPAQUE,
			 "an exit left unfinished does not reach into the next start\n");
	kvm_vm_free(vm);
}

static void guest_errors(void)
{
	GUEST_ASSERT_EQ(hart_status(0).value, HSM_STARTED);
	GUEST_ASSERT_EQ(hart_status(1).value, HSM_STOPPED);
	GUEST_ASSERT_EQ(hart_status(77).error, SBI_ERR_INVALID_PARAM);
	GUEST_ASSERT_EQ(hart_start(77, SLOT_BASE, 0), SBI_ERR_INVALID_PARAM);
	/* itself, and a hart whose start is still pending */
	GUEST_ASSERT_EQ(hart_start(0, SLOT_BASE, 0), SBI_ERR_ALREADY_AVAILABLE);
	GUEST_ASSERT_EQ(hart_start(1, entry_addr(TEST_ENTRY), TEST_OPAQUE), 0);
	GUEST_ASSERT_EQ(hart_status(1).value, HSM_STARTED);
	GUEST_ASSERT_EQ(hart_start(1, entry_addr(0), 0),
			SBI_ERR_ALREADY_AVAILABLE);
	GUEST_DONE();
}

static void test_errors(void)
{
	struct kvm_vcpu *vcpus[2];
	struct kvm_vm *vm;
	struct ucall uc;

	vm = create_vm(2, guest_errors, guest_report, vcpus);
	TEST_ASSERT_EQ(run_to_ucall(vcpus[0], &uc), UCALL_DONE);
	TEST_ASSERT_EQ(run_to_ucall(vcpus[1], &uc), UCALL_SYNC);
	ksft_test_result(uc.args[0] == entry_addr(TEST_ENTRY) &&
			 uc.args[1] == TEST_OPAQUE,
			 "a refused start changes nothing\n");
	kvm_vm_free(vm);
}

/* The mask of all counters, as far as one call takes them */
static unsigned long guest_counters(void)
{
	struct sbiret ret;

	ret = sbi_ecall(SBI_EXT_PMU, SBI_EXT_PMU_NUM_COUNTERS, 0, 0, 0, 0, 0, 0);

	return ret.value < 64 ? BIT(ret.value) - 1 : -1UL;
}

/*
 * Each life takes all the counters that it can have for an event, and leaves
 * them running.  The next life must be able to do the same.
 */
static void guest_pmu(struct boot *boot)
{
	unsigned long nr, mask = guest_counters();
	struct sbiret ret;

	for (nr = 0; nr < 64; nr++) {
		ret = sbi_ecall(SBI_EXT_PMU, SBI_EXT_PMU_COUNTER_CFG_MATCH, 0,
				mask, PMU_CFG_CLEAR_START,
				PMU_EVENT_DTLB_READ_MISS, 0, 0);
		if (ret.error)
			break;
	}
	GUEST_SYNC2(nr, ret.error);
	guest_stop();
}

/* Run a vCPU that is about to stop: its KVM_RUN comes back for a signal only */
static void run_to_stop(struct kvm_vcpu *vcpu)
{
	struct itimerspec its = { .it_value.tv_nsec = 100000000 };
	struct kvm_mp_state mp;
	timer_t timer;

	timer_create(CLOCK_MONOTONIC,
		     &(struct sigevent) { .sigev_notify = SIGEV_SIGNAL,
					  .sigev_signo = SIGUSR1 }, &timer);
	do {
		timer_settime(timer, 0, &its, NULL);
		TEST_ASSERT(__vcpu_run(vcpu) == -1 && errno == EINTR,
			    "a vCPU that stops itself exited to userspace");
		vcpu_mp_state_get(vcpu, &mp);
	} while (mp.mp_state != KVM_MP_STATE_STOPPED);
	timer_delete(timer);
}

static void test_counters(void)
{
	const char *name = "a start releases the counters of the life before";
	struct kvm_vcpu *vcpus[2];
	unsigned long nr;
	struct kvm_vm *vm;
	struct ucall uc;

	vm = create_vm(2, guest_start_1, guest_pmu, vcpus);
	if (!__vcpu_has_sbi_ext(vcpus[1], KVM_RISCV_SBI_EXT_PMU)) {
		ksft_test_result_skip("%s: host has no SBI PMU\n", name);
		goto out;
	}
	start_1(vcpus[0]);
	TEST_ASSERT_EQ(run_to_ucall(vcpus[1], &uc), UCALL_SYNC);
	nr = uc.args[0];
	if (!nr) {
		ksft_test_result_skip("%s: host counts no TLB misses (SBI error %ld)\n",
				      name, (long)uc.args[1]);
		goto out;
	}
	run_to_stop(vcpus[1]);
	start_1(vcpus[0]);
	TEST_ASSERT_EQ(run_to_ucall(vcpus[1], &uc), UCALL_SYNC);
	ksft_print_msg("%lu, then %lu counters\n", nr, uc.args[0]);
	ksft_test_result(uc.args[0] == nr, "%s\n", name);
out:
	kvm_vm_free(vm);
}

/* vCPU threads */

struct runner {
	pthread_t thread;
	struct kvm_vcpu *vcpu;
	struct shared *sh;
	bool meddle;
	atomic_bool done;
	unsigned int seed;
	unsigned long kicks;
	char error[UCALL_BUFFER_LEN + 64];
};

static __thread struct kvm_vcpu *this_vcpu;

static void on_kick(int sig)
{
	if (this_vcpu)
		this_vcpu->run->immediate_exit = 1;
}

/* Some kernels have more behind these, for extensions that a vCPU may lack */
#define NR_CORE_REGS	(offsetof(struct kvm_riscv_core, mode) / sizeof(long) + 1)
#define NR_CSR_REGS	(sizeof(struct kvm_riscv_csr) / sizeof(long))

/*
 * Move the state of the vCPU, which is out of KVM_RUN, out and in again.  A
 * runnable vCPU changes only by its own doing, so nothing may be lost.  A
 * stopped one can be started at any time: look, but put nothing back; and now
 * and then power it off, which takes such a start back as a whole.
 */
static void meddle(struct runner *r)
{
	unsigned long core[NR_CORE_REGS], csr[NR_CSR_REGS];
	uint64_t core_id = RISCV_CORE_REG(regs.pc);
	uint64_t csr_id = RISCV_GENERAL_CSR_REG(sstatus);
	struct kvm_vcpu *vcpu = r->vcpu;
	struct kvm_mp_state mp;
	unsigned int i;

	vcpu_mp_state_get(vcpu, &mp);
	for (i = 0; i < NR_CORE_REGS; i++)
		core[i] = get_reg(vcpu, core_id + i);
	for (i = 0; i < NR_CSR_REGS; i++)
		csr[i] = get_reg(vcpu, csr_id + i);

	if (mp.mp_state == KVM_MP_STATE_STOPPED) {
		if (!(rand_r(&r->seed) % 4))
			vcpu_mp_state_set(vcpu, &mp);
		return;
	}
	if (core[0] == (unsigned long)hsm_stop_returned)
		snprintf(r->error, sizeof(r->error),
			 "runnable vCPU %u is seen behind its hart_stop",
			 vcpu->id);

	for (i = 0; i < NR_CSR_REGS; i++)
		vcpu_set_reg(vcpu, csr_id + i, csr[i]);
	for (i = 0; i < NR_CORE_REGS; i++)
		vcpu_set_reg(vcpu, core_id + i, core[i]);
	vcpu_mp_state_set(vcpu, &mp);
}

static void *runner_thread(void *arg)
{
	struct runner *r = arg;
	struct ucall uc;

	this_vcpu = r->vcpu;
	while (!r->error[0]) {
		if (__vcpu_run(r->vcpu) == -1) {
			TEST_ASSERT(errno == EINTR, KVM_IOCTL_ERROR(KVM_RUN, -1));
			r->vcpu->run->immediate_exit = 0;
			r->kicks++;
			if (READ_ONCE(r->sh->quit))
				break;
			if (r->meddle)
				meddle(r);
			continue;
		}
		switch (get_ucall(r->vcpu, &uc)) {
		case UCALL_ABORT:
			snprintf(r->error, sizeof(r->error), "vCPU %u: %s",
				 r->vcpu->id, uc.buffer);
			break;
		case UCALL_DONE:
			goto out;
		default:
			snprintf(r->error, sizeof(r->error),
				 "vCPU %u: unexpected exit %u", r->vcpu->id,
				 r->vcpu->run->exit_reason);
		}
	}
out:
	this_vcpu = NULL;
	atomic_store(&r->done, true);
	return NULL;
}

static void runners_start(struct runner *r, unsigned int nr,
			  struct kvm_vcpu **vcpus, bool meddle)
{
	struct shared *sh = addr_gpa2hva(vcpus[0]->vm, SHARED_BASE);
	unsigned int i;

	memset(r, 0, nr * sizeof(*r));
	for (i = 0; i < nr; i++) {
		r[i].vcpu = vcpus[i];
		r[i].sh = sh;
		r[i].meddle = meddle;
		r[i].seed = i;
		pthread_create(&r[i].thread, NULL, runner_thread, &r[i]);
	}
}

/* Return: the first error of any runner, or NULL */
static const char *runners_error(struct runner *r, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		if (r[i].error[0])
			return r[i].error;
	return NULL;
}

static void runners_stop(struct runner *r, unsigned int nr)
{
	unsigned int i;

	WRITE_ONCE(r->sh->quit, 1);
	for (i = 0; i < nr; i++) {
		while (!atomic_load(&r[i].done)) {
			pthread_kill(r[i].thread, SIGUSR1);
			usleep(1000);
		}
		pthread_join(r[i].thread, NULL);
	}
}

static unsigned long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000UL + ts.tv_nsec / 1000000;
}

/*
 * Remote fences.  vCPU 1 starts, reads a page, and lets vCPU 0 change the
 * translation and fence it remotely: it must then read the other page.  While
 * vCPU 1 is being reset, vCPU 0 sends it other fences.
 * Fences that get lost or stuck in there show as a stale translation.
 */
#define FENCED		BIT(1)

/* Wait for @cond; when told to quit meanwhile, leave all as it is */
#define guest_wait(cond) do {				\
	while (!(cond))					\
		if (READ_ONCE(guest_shared->quit))	\
			GUEST_DONE();			\
	smp_fence();					\
} while (0)

static void guest_check_page(unsigned long want)
{
	struct shared *sh = guest_shared;

	if (READ_ONCE(*(unsigned long *)PAGE_VA) != want)
		WRITE_ONCE(sh->stale, sh->stale + 1);
}

/*
 * A host whose TLB survives no exit shows no stale translation, whatever KVM
 * does. The firmware counters tell there too whether the fence arrived; which
 * of the two events an SBI fence is for a guest is left to the host.
 */
static const unsigned long fence_events[] = {
	PMU_FW_SFENCE_VMA_RECEIVED, PMU_FW_HFENCE_VVMA_RECEIVED,
};

static void count_fences(long *counters)
{
	struct sbiret ret;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(fence_events); i++) {
		ret = sbi_ecall(SBI_EXT_PMU, SBI_EXT_PMU_COUNTER_CFG_MATCH, 0,
				guest_counters(), PMU_CFG_CLEAR_START,
				fence_events[i], 0, 0);
		counters[i] = ret.error ? -1 : ret.value;
	}
}

static unsigned long fences_received(const long *counters)
{
	unsigned long sum = 0;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(fence_events); i++)
		if (counters[i] >= 0)
			sum += sbi_ecall(SBI_EXT_PMU,
					 SBI_EXT_PMU_COUNTER_FW_READ,
					 counters[i], 0, 0, 0, 0, 0).value;
	return sum;
}

static void guest_fence_target(struct boot *boot)
{
	long counters[ARRAY_SIZE(fence_events)];
	struct shared *sh = guest_shared;
	unsigned long round = boot->a1;
	unsigned long received;

	WRITE_ONCE(sh->booted, round);
	count_fences(counters);
	guest_wait(READ_ONCE(sh->burst) == round);
	received = fences_received(counters);

	/* The page of even rounds contains 0, the one of odd rounds 1 */
	guest_check_page(!(round & 1));
	WRITE_ONCE(sh->ready, round);
	guest_wait(READ_ONCE(sh->go) == round);
	guest_check_page(round & 1);
	if (counters[0] >= 0 && counters[1] >= 0) {
		WRITE_ONCE(sh->counted, sh->counted + 1);
		if (fences_received(counters) == received)
			WRITE_ONCE(sh->lost, sh->lost + 1);
	}
	smp_fence();
	WRITE_ONCE(sh->ready, -round);
	guest_stop();
}

static void guest_fence_control(void)
{
	unsigned long *table = (unsigned long *)TABLE_VA;
	struct shared *sh = guest_shared;
	unsigned long round, i;

	for (round = 1; ; round++) {
		guest_wait(!hart_start(1, entry_addr(round), round));
		/*
		 * A burst until it is up, of a different length each time: a
		 * queue of fences that is out of step may get into step again
		 * with many.
		 */
		for (i = 0; i <= round % 40 && READ_ONCE(sh->booted) != round; i++)
			remote_sfence(FENCED, SLOT_BASE);
		WRITE_ONCE(sh->burst, round);

		guest_wait(READ_ONCE(sh->ready) == round);
		WRITE_ONCE(table[sh->pte], sh->pte_val[round & 1]);
		smp_fence();
		remote_sfence(FENCED, PAGE_VA);
		WRITE_ONCE(sh->go, round);
		guest_wait(READ_ONCE(sh->ready) == -round);
		WRITE_ONCE(sh->started[0], round);
	}
}

static uint64_t *leaf_pte(struct kvm_vcpu *vcpu, unsigned long va,
			  unsigned long *table_gpa)
{
	unsigned long satp = get_reg(vcpu, RISCV_GENERAL_CSR_REG(satp));
	/* The modes are numbered: 8 is Sv39 with 3 levels, 9 Sv48, 10 Sv57 */
	int level = (satp >> 60) - 8 + 3 - 1;
	unsigned long gpa = (satp & (BIT(44) - 1)) << 12;
	uint64_t *ptep;

	for (;; level--) {
		ptep = addr_gpa2hva(vcpu->vm, gpa);
		ptep += (va >> (12 + 9 * level)) & 0x1ff;
		if (!level)
			break;
		gpa = (*ptep >> PGTBL_PTE_ADDR_SHIFT) << 12;
	}
	*table_gpa = gpa;

	return ptep;
}

static void test_remote_fences(void)
{
	struct runner r[2];
	struct kvm_vcpu *vcpus[2];
	unsigned long last = 0, last_ms, end_ms, table, page[2];
	const char *error = NULL;
	struct shared *sh;
	struct kvm_vm *vm;
	uint64_t *ptep;
	unsigned int i;

	vm = create_vm(2, guest_fence_control, guest_fence_target, vcpus);
	sh = addr_gpa2hva(vm, SHARED_BASE);
	for (i = 0; i < 2; i++) {
		page[i] = vm_phy_page_alloc(vm, 0x100000, 0);
		memset(addr_gpa2hva(vm, page[i]), 0, 4096);
		*(unsigned long *)addr_gpa2hva(vm, page[i]) = i;
	}
	virt_map(vm, PAGE_VA, page[0], 1);
	ptep = leaf_pte(vcpus[0], PAGE_VA, &table);
	virt_map(vm, TABLE_VA, table, 1);
	sh->pte = (PAGE_VA >> 12) & 0x1ff;
	sh->pte_val[0] = *ptep;
	virt_pg_map(vm, PAGE_VA, page[1]);
	sh->pte_val[1] = *ptep;
	*ptep = sh->pte_val[0];

	runners_start(r, 2, vcpus, false);
	last_ms = now_ms();
	end_ms = last_ms + opt.msecs;
	while (!error && last < opt.fence_rounds &&
	       (now_ms() < end_ms || last < MIN_STARTS)) {
		usleep(1000);
		error = runners_error(r, 2);
		if (READ_ONCE(sh->started[0]) != last) {
			last = READ_ONCE(sh->started[0]);
			last_ms = now_ms();
		} else if (now_ms() - last_ms > opt.stall_secs * 1000UL) {
			error = "no progress";
		}
	}
	runners_stop(r, 2);
	if (error)
		ksft_print_msg("%s\n", error);
	ksft_print_msg("%lu starts, %lu stale translations, %lu of %lu counted fences lost\n",
		       sh->started[0], sh->stale, sh->lost, sh->counted);
	ksft_test_result(!error && !sh->stale && !sh->lost,
			 "remote fences reach a hart that is reset meanwhile\n");
	kvm_vm_free(vm);
}

/*
 * The stress proper.  A hart that runs starts a stopped one, waits until that
 * has acknowledged exactly this start, and stops itself.  So the number of
 * running harts stays what the first hart made it.
 */

/* Return: true when the target acknowledged, false when userspace cancelled */
static bool guest_await_ack(struct shared *sh, unsigned int self,
			    unsigned int to, unsigned long op)
{
	while (READ_ONCE(sh->ack[self]) != op && !READ_ONCE(sh->quit)) {
		if (hart_status(to).value != HSM_STOPPED)
			continue;
		/* Either it stopped after its acknowledgment, or never ran */
		smp_fence();
		if (READ_ONCE(sh->ack[self]) != op)
			return false;
	}

	return true;
}

static void guest_start_another(unsigned int self)
{
	struct shared *sh = guest_shared;
	static unsigned long seqs[MAX_VCPUS];
	unsigned long op, seq;
	unsigned int to, entry;
	long error;

	for (to = self + 1; !READ_ONCE(sh->quit); to++) {
		to %= sh->nr_vcpus;
		if (to == self)
			continue;
		seq = ++seqs[self];
		entry = (seq * 7 + self) % NR_ENTRIES;
		op = op_make(self, to, entry, seq);
		WRITE_ONCE(sh->attempt[self], op);
		smp_fence();

		error = hart_start(to, entry_addr(entry), op);
		if (!error && guest_await_ack(sh, self, to, op))
			return;
		smp_fence();
		WRITE_ONCE(sh->attempt[self], 0);
		smp_fence();
		if (!error) {
			sh->cancelled[self]++;
			continue;
		}
		GUEST_ASSERT_EQ(error, SBI_ERR_ALREADY_AVAILABLE);
		GUEST_ASSERT_NE(READ_ONCE(sh->ack[self]), op);
		sh->refused[self]++;
	}
}

static void guest_life(struct boot *boot)
{
	struct shared *sh = guest_shared;
	unsigned long op = boot->a1;
	unsigned int from = op_from(op);

	if (from >= MAX_VCPUS || boot->a0 != op_to(op) ||
	    boot->pc != entry_addr(op_entry(op)) ||
	    READ_ONCE(sh->attempt[from]) != op)
		GUEST_FAIL("hart %lu started at %lx with %lx, attempt was %lx",
			   boot->a0, boot->pc, op,
			   sh->attempt[from % MAX_VCPUS]);
	if (boot->satp || boot->sstatus & SR_SIE)
		GUEST_FAIL("hart %lu started with satp %lx sstatus %lx",
			   boot->a0, boot->satp, boot->sstatus);
	sh->started[boot->a0]++;
	smp_fence();
	WRITE_ONCE(sh->ack[from], op);

	remote_sfence(BIT(sh->nr_vcpus) - 1, SLOT_BASE);
	guest_start_another(boot->a0);
	if (READ_ONCE(sh->quit))
		GUEST_DONE();
	guest_stop();
}

static void guest_first_life(void)
{
	unsigned int i;

	for (i = 0; i < guest_shared->nr_vcpus / 2; i++)
		guest_start_another(0);
	guest_stop();
}

static unsigned long total(const unsigned long *count)
{
	unsigned long sum = 0;
	unsigned int i;

	for (i = 0; i < opt.vcpus; i++)
		sum += READ_ONCE(count[i]);
	return sum;
}

static void test_stress(void)
{
	unsigned long last = 0, last_ms, end_ms, kick_ms = 0, kicks = 0;
	struct kvm_vcpu *vcpus[MAX_VCPUS];
	struct runner r[MAX_VCPUS];
	const char *error = NULL;
	unsigned int seed = 1, i;
	struct shared *sh;
	struct kvm_vm *vm;

	vm = create_vm(opt.vcpus, guest_first_life, guest_life, vcpus);
	sh = addr_gpa2hva(vm, SHARED_BASE);
	sh->nr_vcpus = opt.vcpus;
	runners_start(r, opt.vcpus, vcpus, true);
	last_ms = now_ms();
	end_ms = last_ms + opt.msecs;

	while (!error && (now_ms() < end_ms || last < MIN_STARTS)) {
		usleep(opt.kick_us);
		error = runners_error(r, opt.vcpus);
		if (total(sh->started) != last) {
			last = total(sh->started);
			last_ms = now_ms();
		} else if (now_ms() - last_ms > opt.stall_secs * 1000UL) {
			error = "no progress: a start was lost";
		} else if (now_ms() < kick_ms) {
			/* Nothing but kicks would be no progress either */
			continue;
		}
		pthread_kill(r[rand_r(&seed) % opt.vcpus].thread, SIGUSR1);
		kick_ms = now_ms() + 10;
	}
	runners_stop(r, opt.vcpus);
	for (i = 0; i < opt.vcpus; i++)
		kicks += r[i].kicks;
	if (error)
		ksft_print_msg("%s\n", error);
	ksft_print_msg("%lu starts, %lu refused, %lu cancelled, %lu kicks\n",
		       total(sh->started), total(sh->refused),
		       total(sh->cancelled), kicks);
	ksft_test_result(!error,
			 "every start sees the pair that its caller passed\n");
	kvm_vm_free(vm);
}

static void help(const char *name)
{
	printf("usage: %s [-v vcpus] [-t msecs] [-k usecs] [-f rounds] [-s secs]\n"
	       " -v: vCPUs of the stress, 3 to %u (default %u)\n"
	       " -t: duration of the stress, and the longest of the remote fence test,\n"
	       "     in milliseconds (default %u)\n"
	       " -k: time between two kicks in microseconds (default %u)\n"
	       " -f: most rounds of the remote fence test (default %u)\n"
	       " -s: seconds without progress that count as a failure (default %u)\n",
	       name, MAX_VCPUS, opt.vcpus, opt.msecs, opt.kick_us,
	       opt.fence_rounds, opt.stall_secs);
}

int main(int argc, char *argv[])
{
	struct sigaction kick = { .sa_handler = on_kick };
	struct sigaction alrm = { .sa_handler = on_alarm };
	int c;

	while ((c = getopt(argc, argv, "v:t:k:f:s:h")) != -1) {
		switch (c) {
		case 'v':
			opt.vcpus = atoi_positive("vCPUs", optarg);
			break;
		case 't':
			opt.msecs = atoi_positive("duration", optarg);
			break;
		case 'k':
			opt.kick_us = atoi_positive("kick interval", optarg);
			break;
		case 'f':
			opt.fence_rounds = atoi_positive("rounds", optarg);
			break;
		case 's':
			opt.stall_secs = atoi_positive("stall limit", optarg);
			break;
		default:
			help(argv[0]);
			return c == 'h' ? 0 : 1;
		}
	}
	TEST_ASSERT(opt.vcpus >= 3 && opt.vcpus <= MAX_VCPUS,
		    "vCPUs: 3 to %u", MAX_VCPUS);
	sigaction(SIGUSR1, &kick, NULL);
	sigaction(SIGALRM, &alrm, NULL);

	ksft_print_header();
	ksft_set_plan(7);
	test_state_seen();
	test_state_written();
	test_unfinished_exit();
	test_errors();
	test_counters();
	test_remote_fences();
	test_stress();
	ksft_finished();
}
