//! How RocksDB is set up. Pure.

use rocksdb::{BlockBasedOptions, Cache, DBCompressionType, DBRecoveryMode, Options};

use super::Table;

/// Small, because a replica keeps its state in memory anyway and reads the disk for history and lagging peers.
const BLOCK_CACHE_BYTES: usize = 4 << 20;
const WRITE_BUFFER_BYTES: usize = 8 << 20;
/// All tables' buffers together: the largest is flushed when they exceed it.
const WRITE_BUFFERS_BYTES: usize = 16 << 20;
/// So many deletions among so many rows in a row make a file worth compacting.
const DELETIONS_WINDOW: usize = 4096;
const DELETIONS_MAX: usize = 2048;
/// A full write-ahead log forces the column families that hold it back to flush.
const WAL_BYTES_MAX: u64 = 64 << 20;

/// On a small disk the log stays small, so that the reserve is enough for writing it out ([`super::space`]).
pub fn log_bytes_max(total_bytes: u64) -> u64 {
    WAL_BYTES_MAX.min(total_bytes / 128)
}

/// `total_bytes`: of the file system.
pub fn database(total_bytes: u64) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    // Absolute consistency, except for a record torn at the very end of the log, which was never acknowledged: the file ends
    // with it, or was cut where a sector of it is empty (torn_end.rs). torn_tests.rs says of every other tear what becomes of it.
    // Logs before the last one are held against their sizes in the manifest.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_paranoid_checks(true);
    options.set_max_total_wal_size(log_bytes_max(total_bytes));
    options.set_db_write_buffer_size(WRITE_BUFFERS_BYTES);
    options.set_max_background_jobs(2);
    options.set_max_open_files(128);
    options.set_bytes_per_sync(1 << 20);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(1 << 20);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_skip_stats_update_on_db_open(true);
    options
}

pub fn table(table: Table) -> Options {
    let mut options = Options::default();
    options.set_write_buffer_size(match table {
        Table::Meta => 1 << 20,
        _ => WRITE_BUFFER_BYTES,
    });
    options.set_max_write_buffer_number(2);
    if table == Table::Objects {
        // Objects are deleted one by one: a file that holds little else than their marks is compacted before its turn.
        options.add_compact_on_deletion_collector_factory(DELETIONS_WINDOW, DELETIONS_MAX, 0.5);
    }
    options.set_compression_type(DBCompressionType::Lz4);
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&Cache::new_lru_cache(BLOCK_CACHE_BYTES / Table::ALL.len()));
    blocks.set_cache_index_and_filter_blocks(true);
    options.set_block_based_table_factory(&blocks);
    options
}
