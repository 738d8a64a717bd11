//! CRC32C over a header, a small block and the largest data segment we take.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use iscsi_proto::digest::{Digests, header_digest};

fn crc32c(c: &mut Criterion) {
    let mut group = c.benchmark_group("CRC32C");
    group.throughput(Throughput::Bytes(48));
    let bhs = [0x5a; 48];
    group.bench_function("header, 48 B", |b| b.iter(|| header_digest(black_box(&bhs), &[])));
    let digests = Digests { header: true, data: true };
    for (name, length) in [("4 KiB", 4 << 10), ("256 KiB", 256 << 10)] {
        let data = vec![0x5a_u8; length];
        group.throughput(Throughput::Bytes(length as u64));
        group.bench_with_input(BenchmarkId::new("data", name), &data, |b, data| {
            b.iter(|| digests.after_data([black_box(&data[..])]));
        });
    }
    group.finish();
}

criterion_group!(benches, crc32c);
criterion_main!(benches);
