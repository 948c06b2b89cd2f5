// SPDX-License-Identifier: GPL-2.0-only
/*
 * Nested virtualization: external interrupts of L1, from the in-kernel AIA.
 *
 * A thread of the host sends MSIs while L2 runs, waits, or is about to. L1 gets
 * each of them once, and L2 sees nothing of them.
 *
 * Expected values are those of the privileged specification, chapter "H" Extension
 * for Hypervisor Support, and of the AIA specification, chapters 2, 3 and 6.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "kvm_util.h"
#include "kselftest.h"
#include "processor.h"
#include "nested.h"
#include "nested_nacl.h"
#include "ucall_common.h"

#define CAUSE_ECALL_VS		10
#define CAUSE_VIRTUAL_INSN	22
#define CAUSE_IRQ_EXT		(BIT(63) | 9)
#define SEI			BIT(9)
#define VS_IRQS			(BIT(2) | BIT(6) | BIT(10))

/* The IMSIC of L1, and where L2 finds it if L1 lets it */
#define IMSIC_GPA		0x28000000UL
#define L2_IMSIC		NESTED_L2_ADDR
#define NR_IDS			63
/* Identities that L1 enables: all but the last, and the one that there is not */
#define LAST_ID			(NR_IDS - 1)
#define ENABLED			GENMASK(LAST_ID, 1)

enum { EIDELIVERY = 0x70, EITHRESHOLD = 0x72, EIP0 = 0x80, EIE0 = 0xc0 };

#define ROUNDS			20
#define RACES			400

/* The identity that the guest wants, until it was sent; how long L2 went on after that */
static u64 wanted, spins;

/* How often L1 got each */
static u64 claims[NR_IDS + 1], nr_claims;

static struct nested_ctx ctx;
static struct nacl nacl;

/* --- L2: asks for the MSI itself, so that it runs by then -------------------- */

static void l2_spin(u64 id)
{
	/* It has a siselect of its own */
	csr_write(CSR_SISELECT, EITHRESHOLD);
	WRITE_ONCE(wanted, id);
	while (READ_ONCE(wanted))
		;
	for (;;)
		WRITE_ONCE(spins, spins + 1);
}

static void l2_wfi(u64 id)
{
	WRITE_ONCE(wanted, id);
	for (;;)
		asm volatile("wfi");
}

static void l2_go_on(u64 id)
{
	int i;

	/* It would take an external interrupt of its own */
	csr_set(CSR_SIE, SEI);
	csr_set(CSR_SSTATUS, SR_SIE);
	WRITE_ONCE(wanted, id);
	while (READ_ONCE(wanted))
		;
	for (i = 0; i < 100000; i++)
		barrier();
	nested_l2_call(csr_read(CSR_SIP));

	csr_swap(CSR_STOPEI, 0);
	csr_write(CSR_SISELECT, EIP0);
	csr_swap(CSR_SIREG, 0);
	for (;;)
		nested_l2_call(0);
}

static void l2_send(u64 id)
{
	WRITE_ONCE(*(u32 *)L2_IMSIC, id);
	for (;;)
		barrier();
}

static void l2_race(void)
{
	u64 n;

	for (;;) {
		n = nested_l2_call(0);
		if (!n)
			asm volatile("wfi");
		while (n--)
			barrier();
	}
}

/* --- L1 ---------------------------------------------------------------------- */

static void imsic_write(u64 reg, u64 val)
{
	csr_write(CSR_SISELECT, reg);
	csr_write(CSR_SIREG, val);
}

/* With siselect as it was before L2 ran */
static u64 pending(void)
{
	return csr_read(CSR_SIREG) & ENABLED;
}

static u64 claim(void)
{
	u64 topei = csr_swap(CSR_STOPEI, 0);

	GUEST_ASSERT_EQ(topei >> 16, topei & 0xffff);
	/* There is no interrupt without an identity */
	GUEST_ASSERT(topei);
	WRITE_ONCE(claims[topei >> 16], claims[topei >> 16] + 1);
	WRITE_ONCE(nr_claims, nr_claims + 1);

	return topei >> 16;
}

static void l1_irq(struct pt_regs *regs)
{
	GUEST_ASSERT_EQ(regs->cause, CAUSE_IRQ_EXT);
	GUEST_ASSERT_EQ(csr_read(CSR_HSTATUS) & HSTATUS_SPV, 0);
	claim();
}

static void run_l2(void)
{
	if (nacl.mem)
		nacl_run(&nacl, &ctx);
	else
		nested_run(&ctx);
	GUEST_ASSERT_EQ(ctx.hstatus & (HSTATUS_SPV | HSTATUS_SPVP | HSTATUS_GVA),
			HSTATUS_SPV | HSTATUS_SPVP);
	GUEST_ASSERT_EQ(ctx.sstatus & (SR_SPP | SR_SIE), SR_SPP);
}

static void start_l2(void *code, u64 id)
{
	nested_init(&ctx, code);
	ctx.x[10] = id;
	run_l2();
}

/* L2 was ended by the interrupt of that identity, and of no other */
static void expect_irq(u64 id)
{
	GUEST_ASSERT_EQ(ctx.scause, CAUSE_IRQ_EXT);
	GUEST_ASSERT_EQ(ctx.stval, 0);
	GUEST_ASSERT_EQ(ctx.htval, 0);
	GUEST_ASSERT_EQ(csr_read(CSR_SIP) & SEI, SEI);
	GUEST_ASSERT_EQ(pending(), BIT(id));
	GUEST_ASSERT_EQ(claim(), id);
	GUEST_ASSERT_EQ(pending(), 0);
	GUEST_ASSERT_EQ(csr_read(CSR_SIP) & SEI, 0);
}

static void l1_spin(void)
{
	u64 i, late = 0;

	for (i = 1; i <= ROUNDS; i++) {
		WRITE_ONCE(spins, 0);
		start_l2(l2_spin, i * 3);
		expect_irq(i * 3);
		GUEST_ASSERT_EQ(csr_read(CSR_VSISELECT), EITHRESHOLD);
		late += READ_ONCE(spins) > 1000;
	}
	/* The interrupt itself ended L2, not one of L0 that came along */
	GUEST_ASSERT(late <= ROUNDS / 4);
}

static void l1_wfi(void)
{
	u64 i, after = 0;

	for (i = 1; i <= ROUNDS; i++) {
		start_l2(l2_wfi, i * 3);
		expect_irq(i * 3);
		/* The code may be aligned to two bytes */
		after += ((u16 *)ctx.sepc)[-2] == 0x0073 && ((u16 *)ctx.sepc)[-1] == 0x1050;
	}
	/* It is taken on the next instruction, but WFI may also end for no reason */
	GUEST_ASSERT(after > ROUNDS / 2);
}

static void l1_masked(void)
{
	u64 i, sepc;

	for (i = 1; i <= ROUNDS; i++) {
		csr_clear(CSR_SIE, SEI);
		start_l2(l2_go_on, i * 3);
		GUEST_ASSERT_EQ(ctx.scause, CAUSE_ECALL_VS);
		GUEST_ASSERT_EQ(ctx.x[10] & SEI, 0);
		GUEST_ASSERT_EQ(csr_read(CSR_SIP) & SEI, SEI);
		ctx.sepc += 4;
		/* It has no interrupt file, whatever L1 has */
		run_l2();
		GUEST_ASSERT_EQ(ctx.scause, CAUSE_VIRTUAL_INSN);
		ctx.sepc += 4;
		run_l2();
		GUEST_ASSERT_EQ(ctx.scause, CAUSE_VIRTUAL_INSN);
		ctx.sepc += 4;

		/* SRET is where it is taken, and not only soon after that */
		csr_set(CSR_SIE, SEI);
		sepc = ctx.sepc;
		run_l2();
		expect_irq(i * 3);
		GUEST_ASSERT_EQ(ctx.sepc, sepc);
		run_l2();
		GUEST_ASSERT_EQ(ctx.scause, CAUSE_ECALL_VS);
	}
}

/* A trap of L1 clears SPV, but with interrupts KVM does not: see nested.rst */
static void irqs_on(void)
{
	csr_clear(CSR_HSTATUS, HSTATUS_SPV);
	local_irq_enable();
}

static void l1_direct(void)
{
	u64 i;

	nested_init(&ctx, l2_race);
	for (i = 1; i <= ROUNDS; i++) {
		run_l2();
		GUEST_ASSERT_EQ(ctx.scause, CAUSE_ECALL_VS);
		WRITE_ONCE(wanted, i * 3);
		irqs_on();
		while (READ_ONCE(nr_claims) != i)
			;
		local_irq_disable();
		GUEST_ASSERT_EQ(claims[i * 3], 1);
		GUEST_ASSERT_EQ(pending(), 0);
		GUEST_ASSERT_EQ(csr_read(CSR_SIP) & SEI, 0);
	}
}

static void l1_send(void)
{
	u64 i;

	nested_map(&nested_pgt, L2_IMSIC, IMSIC_GPA, 0, NESTED_PTE_RWX);
	for (i = 1; i <= ROUNDS; i++) {
		start_l2(l2_send, i * 3);
		expect_irq(i * 3);
	}
}

/* As many as the host sends; as long as there is one left, L2 does not wait in vain */
static void l1_race(void)
{
	u64 seed = 1;

	nested_init(&ctx, l2_race);
	while (READ_ONCE(nr_claims) < RACES) {
		run_l2();
		seed = seed * 6364136223846793005UL + 1;
		if (ctx.scause == CAUSE_ECALL_VS) {
			ctx.sepc += 4;
			ctx.x[10] = seed >> 60 ? seed >> 54 : 0;
		} else {
			GUEST_ASSERT_EQ(ctx.scause, CAUSE_IRQ_EXT);
			claim();
		}
		if (seed >> 40 & 1) {
			irqs_on();
			local_irq_disable();
		}
	}
}

static void l1_entry(void (*l1)(void), u64 with_nacl, u64 with_stateen)
{
	if (with_nacl)
		nacl_init(&nacl, 0xf);
	csr_write(CSR_HIDELEG, VS_IRQS);
	/* L1 forbids L2 nothing */
	if (with_stateen)
		csr_write(CSR_HSTATEEN0, -1UL);

	imsic_write(EIDELIVERY, 1);
	imsic_write(EITHRESHOLD, 0);
	imsic_write(EIE0, ENABLED);
	csr_write(CSR_SISELECT, EIP0);
	csr_set(CSR_SIE, SEI);
	l1();
	GUEST_DONE();
}

/* --- Host -------------------------------------------------------------------- */

enum { BLOCKED = 1, RACE = 2 };

static const struct test {
	const char *name;
	void (*l1)(void);
	int flags;
} tests[] = {
	{ "MSI while L2 spins", l1_spin },
	{ "MSI while L2 is in WFI", l1_wfi, BLOCKED },
	{ "MSI while L2 runs and L1 has SEIE clear", l1_masked },
	{ "MSI while L1 runs", l1_direct },
	{ "MSI that L2 sends to L1", l1_send },
	{ "MSIs at any time and on any CPU", l1_race, RACE },
};

/* hgeie has 63 bits for them */
#define MAX_FILES		63

static const struct mode {
	const char *name;
	u32 mode;
	/* Interrupt files of one CPU that others have */
	int taken;
} modes[] = {
	{ "EMUL", KVM_DEV_RISCV_AIA_MODE_EMUL },
	{ "HWACCEL", KVM_DEV_RISCV_AIA_MODE_HWACCEL },
	/* The number of the file depends on the CPU, or there is none on one of them */
	{ "AUTO", KVM_DEV_RISCV_AIA_MODE_AUTO, 1 },
	{ "AUTO, no file left on one CPU", KVM_DEV_RISCV_AIA_MODE_AUTO, MAX_FILES },
};

static cpu_set_t all_cpus;
static atomic_bool stop;

/* What the threads need to know of the VM */
static struct kvm_vcpu *the_vcpu;
static const struct test *the_test;
static u64 *the_wanted, *the_claims, sent[NR_IDS + 1], nudges;

static void send_msi(u64 id)
{
	struct kvm_msi msi = { .address_lo = IMSIC_GPA, .data = id };

	TEST_ASSERT(__vm_ioctl(the_vcpu->vm, KVM_SIGNAL_MSI, &msi) >= 0, "KVM_SIGNAL_MSI");
}

/* A minute without what L1 or L2 owes is an interrupt that was lost */
static bool waiting(time_t since, const char *what)
{
	usleep(50);
	TEST_ASSERT(time(NULL) < since + 60, "%s: nothing %s", the_test->name, what);

	return !atomic_load(&stop);
}

/*
 * QEMU forgets to set hip.SGEIP once in a thousand times, though hgeip & hgeie is not
 * zero, so that nobody wakes up the vCPU. An MSI that is not enabled makes it look again.
 * It does not help if the MSI was lost, or if KVM does not wait for the interrupt file.
 */
static void wait_claimed(u64 id)
{
	time_t since = time(NULL), last = since;

	while (READ_ONCE(the_claims[id]) != sent[id] && waiting(since, "claimed")) {
		if (time(NULL) < last + 5)
			continue;
		last = time(NULL);
		send_msi(NR_IDS);
		nudges++;
	}
}

static void *send_wanted(void *arg)
{
	unsigned int seed = 1;
	time_t since;
	u64 id;

	sched_setaffinity(0, sizeof(all_cpus), &all_cpus);
	for (;;) {
		for (since = time(NULL); !(id = READ_ONCE(*the_wanted)); )
			if (!waiting(since, "wanted"))
				return NULL;
		while (the_test->flags & BLOCKED && !vcpu_get_stat(the_vcpu, blocking))
			if (!waiting(since, "blocked"))
				return NULL;
		usleep(rand_r(&seed) % 500);
		sent[id]++;
		send_msi(id);
		/* Not the next one, which L2 may already want */
		__sync_bool_compare_and_swap(the_wanted, id, 0);
		wait_claimed(id);
	}
}

static void *send_many(void *arg)
{
	unsigned int seed = 1, id, i;

	for (i = 0; i < RACES; i++) {
		id = rand_r(&seed) % LAST_ID + 1;
		wait_claimed(id);
		usleep(rand_r(&seed) % 200);
		sent[id]++;
		send_msi(id);
	}
	for (id = 1; id <= LAST_ID; id++)
		wait_claimed(id);
	return NULL;
}

static void *migrate(void *arg)
{
	while (!atomic_load(&stop)) {
		pin_task_to_random_cpu(*(pthread_t *)arg, &all_cpus);
		usleep(100);
	}
	return NULL;
}

/* Returns false if the host does not have the mode */
static bool create_aia(struct kvm_vm *vm, u32 mode)
{
	int fd = kvm_create_device(vm, KVM_DEV_TYPE_RISCV_AIA);
	u64 addr = IMSIC_GPA;
	u32 ids = NR_IDS;
	bool ret;

	ret = !__kvm_device_attr_set(fd, KVM_DEV_RISCV_AIA_GRP_CONFIG,
				     KVM_DEV_RISCV_AIA_CONFIG_MODE, &mode);
	if (ret) {
		kvm_device_attr_set(fd, KVM_DEV_RISCV_AIA_GRP_CONFIG,
				    KVM_DEV_RISCV_AIA_CONFIG_IDS, &ids);
		kvm_device_attr_set(fd, KVM_DEV_RISCV_AIA_GRP_ADDR,
				    KVM_DEV_RISCV_AIA_ADDR_IMSIC(0), &addr);
		kvm_device_attr_set(fd, KVM_DEV_RISCV_AIA_GRP_CTRL,
				    KVM_DEV_RISCV_AIA_CTRL_INIT, NULL);
	}
	close(fd);

	return ret;
}

static int run_test(const struct mode *mode, const struct test *test, bool with_nacl)
{
	pthread_t sender, migrator, self = pthread_self();
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm = nested_vm_create(&vcpu, l1_entry, VM_MEM_SRC_ANONYMOUS);
	struct ucall uc;
	bool pass;

	if (!create_aia(vm, mode->mode)) {
		kvm_vm_free(vm);
		return KSFT_SKIP;
	}
	nacl_add_memory(vm);
	vm_install_interrupt_handler(vm, l1_irq);
	vcpu_args_set(vcpu, 3, test->l1, (u64)with_nacl,
		      (u64)__vcpu_has_isa_ext(vcpu, KVM_RISCV_ISA_EXT_SMSTATEEN));

	the_vcpu = vcpu;
	the_test = test;
	the_wanted = addr_gva2hva(vm, (gva_t)&wanted);
	the_claims = addr_gva2hva(vm, (gva_t)claims);
	memset(sent, 0, sizeof(sent));
	nudges = 0;
	atomic_store(&stop, false);
	pthread_create(&sender, NULL, test->flags & RACE ? send_many : send_wanted, NULL);
	if (test->flags & RACE)
		pthread_create(&migrator, NULL, migrate, &self);

	vcpu_run(vcpu);
	pass = get_ucall(vcpu, &uc) == UCALL_DONE;
	if (uc.cmd == UCALL_ABORT)
		ksft_print_msg("%s at %s:%ld\n", uc.buffer,
			       (const char *)uc.args[GUEST_FILE], uc.args[GUEST_LINE]);
	else if (!pass)
		ksft_print_msg("exit reason %u, unexpected trap %ld of L1\n",
			       vcpu->run->exit_reason, uc.args[1]);

	atomic_store(&stop, true);
	pthread_join(sender, NULL);
	if (test->flags & RACE) {
		pthread_join(migrator, NULL);
		sched_setaffinity(0, sizeof(all_cpus), &all_cpus);
		pass = pass && !memcmp(the_claims, sent, sizeof(sent));
	}
	kvm_vm_free(vm);
	if (nudges)
		ksft_print_msg("%lu interrupts were not noticed\n", (unsigned long)nudges);

	return pass && nudges <= ROUNDS / 4 ? KSFT_PASS : KSFT_FAIL;
}

static void guest_done(void)
{
	GUEST_DONE();
}

/* Returns how many VMs there are; without a file the last one does not run */
static int take_files(struct kvm_vm **vms, int max)
{
	struct kvm_vcpu *vcpu;
	int n;

	for (n = 0; n < max; ) {
		pin_self_to_any_cpu();
		vms[n] = vm_create_with_one_vcpu(&vcpu, guest_done);
		if (create_aia(vms[n++], KVM_DEV_RISCV_AIA_MODE_HWACCEL))
			vcpu_run(vcpu);
		if (vcpu->run->exit_reason != KVM_EXIT_RISCV_SBI)
			break;
	}

	return n;
}

static void test_mode(const struct mode *mode)
{
	struct kvm_vm *vms[MAX_FILES];
	int i, n = take_files(vms, mode->taken);

	for (i = 0; i < 2 * ARRAY_SIZE(tests); i++)
		ksft_test_result_report(run_test(mode, &tests[i / 2], i % 2), "%s%s: %s\n",
					mode->name, i % 2 ? ", NACL" : "", tests[i / 2].name);
	while (n--)
		kvm_vm_free(vms[n]);
}

int main(void)
{
	struct kvm_vm *vm;
	bool aia;
	int i;

	ksft_print_header();
	if (!nested_supported())
		ksft_exit_skip("KVM does not offer the H extension, see kvm.nested\n");
	vm = vm_create_barebones();
	aia = !__kvm_test_create_device(vm, KVM_DEV_TYPE_RISCV_AIA);
	kvm_vm_free(vm);
	if (!aia)
		ksft_exit_skip("KVM does not offer AIA\n");

	TEST_ASSERT_EQ(sched_getaffinity(0, sizeof(all_cpus), &all_cpus), 0);
	ksft_set_plan(ARRAY_SIZE(modes) * ARRAY_SIZE(tests) * 2);
	for (i = 0; i < ARRAY_SIZE(modes); i++)
		test_mode(&modes[i]);
	ksft_finished();
}
