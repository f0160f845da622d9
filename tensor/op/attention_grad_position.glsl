/* attention_grad_position.glsl - where the rows of attention's gradient lie and its queries
 * stand. */
layout(push_constant) uniform push { attention_grad_params p; };

uint stride_q()
{
    return ATTENTION_STRIDE_Q(p);
}

uint stride_k()
{
    return ATTENTION_STRIDE_K(p);
}

/* The position of query 0. */
uint first_position()
{
    return (p.flags & ATTENTION_FIRST) != 0u ? p.first.at[0] : p.keys - p.queries;
}
