// SPDX-License-Identifier: GPL-2.0
/*
 * What a RISC-V guest pays where it should pay nothing: for system calls in the
 * guest, which do not come to the hypervisor; and how late its timer is, when it
 * waits busily and when it waits in WFI.
 *
 * Run in a guest that is itself a hypervisor, it tells what the guest's guest
 * pays. Figures are as those of exit_perf_test: instructions where the machine's
 * time advances with them, nanoseconds elsewhere.
 *
 * Prints, for each kind, lines "cost KIND FIGURE" and "exits KIND NUMBER" besides
 * the TAP; the number is that of exits from the guest in each round.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kselftest.h"
#include "kvm_util.h"
#include "processor.h"
#include "sbi.h"
#include "ucall_common.h"

#define NSEC_PER_SECOND		1000000000ULL

#define USER_GVA		0xc0000000UL

#define SBI_EXT_TIMER		0x54494D45
#define SBI_NEVER		-1UL

/* Long enough for a vCPU in WFI to be asleep, which comes after some polling */
#define IDLE_TICKS(hz)		((hz) / 500)
#define BUSY_TICKS(hz)		((hz) / 50000)

/*
 * A tick of the time CSR may be many instructions, and a timer expires at the
 * beginning of one. With so many different delays before the time is read, the
 * average is as good as with a finer clock.
 */
#define NR_DELAYS		50

static unsigned long syscall_rounds = 20000;
static unsigned long timer_rounds = 1000;
static bool without_h;

/* Of the guest */
static bool expired;
static unsigned long delay;
static uint64_t expired_at;

void user_program(void);

/*
 * The program that runs in U-mode: a0 times a system call of number 0, then one of
 * number 1. It has a page for itself, which U-mode sees at USER_GVA. Behind it is
 * the trap vector of its kernel, which ends it at number 1.
 */
void __naked user_program(void)
{
	asm volatile("	.balign	4096\n"
		     "user_code:\n"
		     "1:	ecall\n"
		     "	addi	a0, a0, -1\n"
		     "	bnez	a0, 1b\n"
		     "	li	a7, 1\n"
		     "	ecall\n"
		     "	.balign	4096\n"
		     "syscall_entry:\n"
		     "	csrrw	tp, sscratch, tp\n"
		     "	csrr	t0, sstatus\n"
		     "	csrr	t1, scause\n"
		     "	csrr	t2, sepc\n"
		     "	bnez	a7, 1f\n"
		     "	addi	t2, t2, 4\n"
		     "	csrw	sstatus, t0\n"
		     "	csrw	sepc, t2\n"
		     "	csrrw	tp, sscratch, tp\n"
		     "	sret\n"
		     "1:	csrrw	tp, sscratch, tp\n"
		     "	jr	t3\n");
}

extern char user_code[], syscall_entry[];

static uint64_t guest_syscalls(unsigned long n, uint64_t hz)
{
	register unsigned long count asm("a0") = n;
	uint64_t start;

	start = csr_read(CSR_TIME);
	asm volatile("	csrrw	t4, stvec, %[entry]\n"
		     "	csrw	sepc, %[pc]\n"
		     "	csrc	sstatus, %[spp]\n"
		     "	la	t3, 1f\n"
		     "	li	a7, 0\n"
		     "	sret\n"
		     "	.balign	4\n"
		     "1:	csrw	stvec, t4\n"
		     : "+r" (count)
		     : [entry] "r" (syscall_entry), [pc] "r" (USER_GVA), [spp] "r" (0x100UL)
		     : "t0", "t1", "t2", "t3", "t4", "a7", "memory");

	return csr_read(CSR_TIME) - start;
}

static void set_timer(uint64_t time)
{
	sbi_ecall(SBI_EXT_TIMER, 0, time, 0, 0, 0, 0, 0);
}

static void timer_handler(struct pt_regs *regs)
{
	unsigned long n = READ_ONCE(delay);

	if (n)
		asm volatile("1: addi %0, %0, -1\n bnez %0, 1b" : "+r" (n));
	WRITE_ONCE(expired_at, csr_read(CSR_TIME));
	WRITE_ONCE(expired, true);
	set_timer(SBI_NEVER);
}

static uint64_t guest_timer(unsigned long n, uint64_t wait, bool idle)
{
	uint64_t deadline, late = 0;
	unsigned long i;

	csr_set(CSR_SIE, BIT(IRQ_S_TIMER));
	for (i = 0; i < n; i++) {
		WRITE_ONCE(expired, false);
		WRITE_ONCE(delay, i % NR_DELAYS);
		deadline = csr_read(CSR_TIME) + wait;
		set_timer(deadline);
		if (idle) {
			/* WFI ends for an interrupt that is not accepted, too */
			while (!READ_ONCE(expired)) {
				asm volatile("wfi" ::: "memory");
				local_irq_enable();
				local_irq_disable();
			}
		} else {
			local_irq_enable();
			while (!READ_ONCE(expired))
				cpu_relax();
			local_irq_disable();
		}
		late += READ_ONCE(expired_at) - deadline;
	}
	csr_clear(CSR_SIE, BIT(IRQ_S_TIMER));

	return late;
}

static uint64_t guest_timer_busy(unsigned long n, uint64_t hz)
{
	return guest_timer(n, BUSY_TICKS(hz), false);
}

static uint64_t guest_timer_idle(unsigned long n, uint64_t hz)
{
	return guest_timer(n, IDLE_TICKS(hz), true);
}

/**
 * struct kind - what is measured
 * @name: what it is called
 * @max_exits: exits that a round may have, with some for the host's own interrupts
 * @guest: runs in the guest; returns ticks
 * @rounds: how often it is done
 */
static const struct kind {
	const char *name;
	double max_exits;
	uint64_t (*guest)(unsigned long n, uint64_t hz);
	const unsigned long *rounds;
} kinds[] = {
	{ "syscall",	0.1,	guest_syscalls,		&syscall_rounds },
	/* An SBI call to set the timer and one to clear it, and ticks of the host */
	{ "timer-busy",	100,	guest_timer_busy,	&timer_rounds },
	{ "timer-idle",	100,	guest_timer_idle,	&timer_rounds },
};

static void guest_code(unsigned long kind, unsigned long n, uint64_t hz)
{
	uint64_t ticks;

	local_irq_disable();
	/* Once for what only the first one pays */
	kinds[kind].guest(1, hz);
	ticks = kinds[kind].guest(n, hz);
	GUEST_SYNC(ticks);
	GUEST_DONE();
}

/* Let U-mode have a page of the program. */
static void map_user(struct kvm_vm *vm, gva_t gva, gpa_t gpa)
{
	int level = vm->mmu.pgtable_levels;
	gpa_t table = vm->mmu.pgd;
	u64 *pte;

	virt_map(vm, gva, gpa, 1);
	while (level--) {
		pte = (u64 *)addr_gpa2hva(vm, table) + (gva >> (12 + 9 * level)) % 512;
		table = (*pte & PGTBL_PTE_ADDR_MASK) >> PGTBL_PTE_ADDR_SHIFT << 12;
	}
	*pte |= PGTBL_PTE_USER_MASK;
}

static double measure(const struct kind *kind, double *exits)
{
	unsigned long n = *kind->rounds;
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	struct ucall uc;
	u64 hz;

	vm = vm_create_with_one_vcpu(&vcpu, guest_code);
	if (without_h)
		vcpu_set_reg(vcpu, RISCV_ISA_EXT_REG(KVM_RISCV_ISA_EXT_H), 0);
	vm_init_vector_tables(vm);
	vcpu_init_vector_tables(vcpu);
	vm_install_interrupt_handler(vm, timer_handler);
	map_user(vm, USER_GVA, addr_gva2gpa(vm, (gva_t)user_code));

	hz = vcpu_get_reg(vcpu, RISCV_TIMER_REG(frequency));
	vcpu_args_set(vcpu, 3, kind - kinds, n, hz);
	vcpu_run(vcpu);
	switch (get_ucall(vcpu, &uc)) {
	case UCALL_SYNC:
		break;
	case UCALL_ABORT:
		REPORT_GUEST_ASSERT(uc);
		break;
	default:
		TEST_FAIL("unexpected exit, reason %u", vcpu->run->exit_reason);
	}
	*exits = (double)vcpu_get_stat(vcpu, exits) / n;
	kvm_vm_free(vm);

	return (double)uc.args[1] * NSEC_PER_SECOND / hz / n;
}

static void help(const char *name)
{
	printf("usage: %s [-H] [-k kind] [-n rounds]\n"
	       "  -H  without the H extension, if KVM would give it to the guest\n"
	       "  -k  measure only this kind\n"
	       "  -n  rounds (default %lu system calls, %lu timers)\n",
	       name, syscall_rounds, timer_rounds);
	exit(KSFT_FAIL);
}

int main(int argc, char *argv[])
{
	unsigned int i, planned = 0;
	const char *only = NULL;
	double cost, exits;
	int opt;

	while ((opt = getopt(argc, argv, "Hk:n:")) != -1) {
		switch (opt) {
		case 'H':
			without_h = true;
			break;
		case 'k':
			only = optarg;
			break;
		case 'n':
			syscall_rounds = strtoul(optarg, NULL, 0);
			timer_rounds = syscall_rounds;
			break;
		default:
			help(argv[0]);
		}
	}
	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		planned += !only || !strcmp(kinds[i].name, only);
	if (!syscall_rounds || !planned)
		help(argv[0]);

	ksft_print_header();
	ksft_set_plan(planned);
	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (only && strcmp(kinds[i].name, only))
			continue;
		cost = measure(&kinds[i], &exits);
		printf("cost %s %.1f\n", kinds[i].name, cost);
		printf("exits %s %.3f\n", kinds[i].name, exits);
		ksft_test_result(cost > 0 && exits <= kinds[i].max_exits, "%s\n",
				 kinds[i].name);
	}
	ksft_finished();
}
