// Written by tools/generate_types.py from inference/events.py, schema version 1.
//
// The fields of every event, for a reader who does not trust its writer: NAME:TYPE, and `=` what holds where it is left
// out. Types: int; num (finite); str; bool; a|b, one of these words; T?, or null; T[]; (A,B), a pair; {T}, values by
// any names; another struct of the table by its name. `SamplingParams` is what `params` of log.opened holds.

/** @type {Record<string, string>} */
export const FIELDS = {
  "log.opened": "schema_version:int=1 run_id:str source:attached|live|recorded opened_at:num model:ModelCard? hardware:Hardware? engine:EngineCard? software:Software? params:{any} provides:str[] parent:str?=null take:str?=null knobs:{any}={}",
  "ModelCard": "name:str architecture:str num_layers:int hidden_size:int num_heads:int num_kv_heads:int head_dim:int intermediate_size:int vocab_size:int num_parameters:int parameter_bytes:int dtype:str kv_bytes_per_token:int max_model_len:int license:str=\"\" note:str=\"\" sliding_window:int?=null num_sliding_layers:int=0 sliding_layers:int[]=[] attention_sinks:bool=false tied_embeddings:bool?=null num_experts:int=0 num_experts_per_token:int=0 expert_parameters:int=0 expert_bytes:int=0 quantization:str=\"\" head_bytes:int=0",
  "Hardware": "device:str name:str num_threads:int memory_bytes:int peak_flops:num memory_bandwidth:num measured_at:num peaks:{num}={}",
  "EngineCard": "block_size:int num_blocks:int max_num_seqs:int max_num_batched_tokens:int max_model_len:int policy:str enable_prefix_caching:bool allocator:str=\"paged\" drafter:str?=null num_speculative_tokens:int=0 kv_cache_dtype:str=\"auto\" drafter_bytes:{int}={}",
  "Software": "openkitchen:str commit:str=\"\" torch:str=\"\" transformers:str=\"\" python:str=\"\"",
  "snapshot": "request_id:str requests:SnapshotRequest[] num_blocks:int num_free_blocks:int cached_block_ids:int[]",
  "SnapshotRequest": "request_id:str sample:int slot:int? num_tokens:int num_computed_tokens:int block_ids:int[]",
  "log.closed": "reason:crashed|error|finished|interrupted|rejected|stopped detail:str=\"\" totals:Totals",
  "Totals": "prompt_tokens:int=0 cached_tokens:int=0 completion_tokens:int=0 num_steps:int=0 num_preemptions:int=0 seconds:num=0.0",
  "request.queued": "request_id:str sample:int=0 position:int num_waiting:int detail:str=\"\"",
  "request.tokenized": "request_id:str sample:int=0 token_ids:int[] pieces:str[] own:(int,int)[] seconds:num merges:BPEMerges?=null",
  "BPEMerges": "words:BPEWord[] order:int[] num_tokens:int",
  "BPEWord": "symbols:str[] merges:(int,int)[]",
  "request.admitted": "request_id:str sample:int=0 slot:int num_tokens:int cached_tokens:int queue_seconds:num",
  "request.preempted": "request_id:str sample:int=0 slot:int num_computed_tokens:int",
  "request.finished": "request_id:str sample:int=0 slot:int? reason:aborted|error|length|stop stop:str?=null text:str?=null usage:Usage?=null detail:str=\"\" num_samples_left:int=0",
  "Usage": "prompt_tokens:int cached_tokens:int completion_tokens:int",
  "step.started": "step:int phase:decode|prefill|verify requests:StepItem[] num_tokens:int num_waiting:int num_idle_slots:int?=null",
  "StepItem": "request_id:str sample:int slot:int phase:decode|prefill|verify start:int stop:int",
  "step.finished": "step:int seconds:num schedule_seconds:num forward_seconds:num sample_seconds:num num_tokens:int flops:num weight_bytes:int kv_read_bytes:int kv_written_bytes:int kv_held_bytes:int?=null kv_unused_bytes:int?=null draft_seconds:num=0.0",
  "collective.finished": "step:int kind:all_gather|all_reduce|all_to_all|broadcast|reduce_scatter module:str rank:int num_ranks:int bytes:int seconds:num",
  "block.allocated": "request_id:str sample:int=0 block_ids:int[] start:int",
  "block.shared": "request_id:str sample:int=0 block_ids:int[] ref_counts:int[] start:int",
  "block.copied": "request_id:str sample:int=0 source_block_id:int block_id:int index:int",
  "block.released": "request_id:str sample:int=0 block_ids:int[] ref_counts:int[] cached:bool[]",
  "block.evicted": "block_id:int",
  "kv.written": "request_id:str sample:int=0 start:int stop:int",
  "token.sampled": "request_id:str sample:int=0 position:int id:int text:str logprob:num candidates:Candidate[] rest:num origin:bonus|draft|recovered|target=\"target\" step:int=0",
  "Candidate": "id:int text:str logit:num probability:num",
  "speculation.drafted": "request_id:str sample:int=0 step:int drafter:str position:int ids:int[] texts:str[] q:num[] seconds:num",
  "speculation.judged": "request_id:str sample:int=0 step:int position:int p:num[] q:num[] draws:num[]? num_drafts:int num_accepted:int id:int text:str origin:bonus|recovered seconds:num",
  "probe.kv": "request_id:str sample:int=0 start:int stop:int keys:Array values:Array",
  "Array": "dtype:float16|float32|uint8 shape:int[] data:str scale:num=1.0",
  "probe.logits": "request_id:str sample:int=0 position:int logits:Array",
  "probe.attention": "request_id:str sample:int=0 position:int layers:int[] heads:int[] weights:Array sinks:Array?=null",
  "probe.attention_summary": "request_id:str sample:int=0 position:int near_tokens:int first:Array near:Array distance:Array entropy:Array",
  "probe.tiles": "request_id:str sample:int=0 layer:int head:int num_tokens:int block_q:int block_k:int tiles:(int,int)[] tile_max:Array row_max:Array row_sum:Array rescale:Array output_norm:Array largest_error:num",
  "SamplingParams": "max_tokens:int=256 temperature:num=1.0 top_p:num=1.0 top_k:int=0 min_p:num=0.0 repetition_penalty:num=1.0 stop:str[]=[] seed:int?=null n:int=1 ignore_eos:bool=false drafter:str?=null",
};
